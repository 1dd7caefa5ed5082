"""The offline feature tables."""

from analytics_pipelines.migrations import run_sql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply the SQL file of this revision."""
    run_sql("0006_features.sql")
