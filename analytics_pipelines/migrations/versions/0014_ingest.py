"""How far sources that are polled were read."""

from analytics_pipelines.migrations import run_sql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0014_ingest.sql")
