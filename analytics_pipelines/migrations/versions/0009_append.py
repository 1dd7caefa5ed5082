"""Appending a few events in one round trip."""

from analytics_pipelines.migrations import run_sql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0009_append.sql")
