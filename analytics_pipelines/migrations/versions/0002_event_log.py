"""The event log."""

from analytics_pipelines.migrations import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0002_event_log.sql")
