"""Who of the BI logins sees which tenants, and the branches that were made."""

from analytics_pipelines.migrations import run_sql

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0016_access.sql")
