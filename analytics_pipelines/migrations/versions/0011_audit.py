"""What is refused and put through again, digests of the log, and partitions that leave it."""

from analytics_pipelines.migrations import run_sql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0011_audit.sql")
