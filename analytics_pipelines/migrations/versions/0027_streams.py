"""The streams of a key by name."""

from analytics_pipelines.migrations import run_sql

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0027_streams.sql")
