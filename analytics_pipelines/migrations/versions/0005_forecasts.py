"""Series and forecasts."""

from analytics_pipelines.migrations import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0005_forecasts.sql")
