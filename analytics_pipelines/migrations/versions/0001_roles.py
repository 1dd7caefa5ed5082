"""The roles and the schemas they own."""

from analytics_pipelines.migrations import run_sql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0001_roles.sql")
