"""The log in partitions by position."""

from analytics_pipelines.migrations import run_sql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0008_partitions.sql")
