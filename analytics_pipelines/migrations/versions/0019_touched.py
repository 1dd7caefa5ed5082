"""What touched what, so that marts make anew just the keys and days that are touched."""

from analytics_pipelines.migrations import run_sql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0019_touched.sql")
