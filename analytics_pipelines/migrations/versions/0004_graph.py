"""The relationship graph and its scores."""

from analytics_pipelines.migrations import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0004_graph.sql")
