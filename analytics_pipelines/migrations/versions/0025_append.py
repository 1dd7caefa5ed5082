"""Appending some events in fewer steps."""

from analytics_pipelines.migrations import run_sql

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0025_append.sql")
