"""Durable subscriptions, and who holds the cursor back."""

from analytics_pipelines.migrations import run_sql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0010_reading.sql")
