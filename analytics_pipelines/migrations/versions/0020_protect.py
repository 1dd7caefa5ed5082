"""What BI may read, and what keeps it to its tenants."""

from analytics_pipelines.migrations import run_sql

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0020_protect.sql")
