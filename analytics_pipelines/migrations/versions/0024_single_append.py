"""Appending one event in fewer steps."""

from analytics_pipelines.migrations import run_sql

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0024_single_append.sql")
