"""What customers are expected to bring."""

from analytics_pipelines.migrations import run_sql

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0021_lifetime_values.sql")
