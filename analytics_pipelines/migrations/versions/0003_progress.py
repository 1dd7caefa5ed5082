"""What was built to which position."""

from analytics_pipelines.migrations import run_sql

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0003_progress.sql")
