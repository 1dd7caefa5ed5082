"""Personal data: the keys of subjects, apart from the log, and their destruction."""

from analytics_pipelines.migrations import run_sql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0012_erasure.sql")
