"""Several new events of one stream in fewer statements."""

from analytics_pipelines.migrations import run_sql

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0028_append_stream.sql")
