"""Snapshots of aggregates, and appending in fewer steps."""

from analytics_pipelines.migrations import run_sql

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0013_commands.sql")
