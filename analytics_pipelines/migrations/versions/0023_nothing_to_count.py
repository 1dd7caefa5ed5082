"""Tallies and histograms that are cheap where nothing is counted."""

from analytics_pipelines.migrations import run_sql

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0023_nothing_to_count.sql")
