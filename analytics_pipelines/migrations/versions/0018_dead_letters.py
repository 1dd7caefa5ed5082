"""Events that a durable subscription has set aside, and erasures that leave nothing in the quarantine."""

from analytics_pipelines.migrations import run_sql

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0018_dead_letters.sql")
