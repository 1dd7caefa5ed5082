"""Events that no run takes, and forecasts that are kept."""

from analytics_pipelines.migrations import run_sql

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0022_waiting.sql")
