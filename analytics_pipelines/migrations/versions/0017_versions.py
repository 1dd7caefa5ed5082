"""Versions of read models: served, former, and built beside."""

from analytics_pipelines.migrations import run_sql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0017_versions.sql")
