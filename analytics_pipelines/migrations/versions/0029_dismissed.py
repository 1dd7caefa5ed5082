"""A refused event can be dismissed."""

from analytics_pipelines.migrations import run_sql

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0029_dismissed.sql")
