"""Sagas and their steps."""

from analytics_pipelines.migrations import run_sql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0007_sagas.sql")
