"""How Alembic reaches the database: over the connection that `migrate()` opened, all revisions in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic import context

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationInfo

attributes: dict[str, Any] = context.config.attributes


def _note(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:
    del ctx, heads, run_args  # Alembic passes all by name
    attributes["applied"].append(step.up_revision_id)


context.configure(
    connection=attributes["connection"],
    on_version_apply=_note,
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
