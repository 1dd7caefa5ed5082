"""How Alembic reaches the database: over the connection that `migrate()` opened, all revisions in one transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

attributes: dict[str, Any] = context.config.attributes


def _note(*, step: Any, **_: object) -> None:  # noqa: ANN401 - Alembic's type is not public
    attributes["applied"].append(step.up_revision_id)


context.configure(
    connection=attributes["connection"],
    on_version_apply=_note,
    version_table_schema="public",
)
with context.begin_transaction():
    context.run_migrations()
