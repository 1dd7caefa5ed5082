"""Counting few values without a query for each."""

from analytics_pipelines.migrations import run_sql

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0026_small_counts.sql")
