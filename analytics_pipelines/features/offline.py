"""The offline store: the tables `features.<group>` in Postgres.

Defines how a group's table is computed and how its rows are read as text, which is the form both stores agree on: an
online value is the text of the offline value, so that they are equal to the last digit. No Redis here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection

    from analytics_pipelines.features.registry import FeatureGroup

CHUNK_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class TextRow:
    """One entity's features as text, the empty text for null.

    Attributes:
        tenant_id: whose entity.
        entity_id: which lead, which customer.
        fields: as_of (ISO 8601, UTC), position (of the log) and the features, by name.
    """

    tenant_id: str
    entity_id: str
    fields: dict[str, str]


def field_names(group: FeatureGroup) -> list[str]:
    """Return the names of what is stored of an entity, in order."""
    return ["as_of", "position", *(feature.name for feature in group.features)]


def refresh(connection: Connection, group: FeatureGroup) -> None:
    """Replace the rows of the group's table by what its query gives at the position this session builds to."""
    names = {
        "table": sql.Identifier("features", group.name),
        "entity": sql.Identifier(group.entity),
        "features": sql.SQL(", ").join(sql.Identifier(feature.name) for feature in group.features),
        "query": sql.SQL(group.query),
    }
    connection.execute(sql.SQL("delete from {table}").format(**names))
    connection.execute(
        sql.SQL("""
            insert into {table} (tenant_id, {entity}, as_of, built_to_position, {features})
            select tenant_id, {entity}, as_of, progress.up_to_position(), {features}
            from ({query}) as computed
        """).format(**names)
    )


def read_rows(
    connection: Connection,
    group: FeatureGroup,
    tenant_id: str | None = None,
    entity_ids: Sequence[str] | None = None,
) -> Iterator[list[TextRow]]:
    """Yield the rows of the group's table in chunks, from one snapshot, in bounded memory.

    Args:
        connection: a session in a transaction.
        group: which table.
        tenant_id: of one tenant; of all without it.
        entity_ids: of these entities; of all without it.
    """
    query = sql.SQL("""
        select
            tenant_id,
            {entity},
            to_char(as_of at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            built_to_position::text,
            {features}
        from {table}
        where (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
            and (%(entity_ids)s::text[] is null or {entity} = any(%(entity_ids)s))
    """).format(
        table=sql.Identifier("features", group.name),
        entity=sql.Identifier(group.entity),
        features=sql.SQL(", ").join(
            sql.SQL("coalesce({}::text, '')").format(sql.Identifier(feature.name)) for feature in group.features
        ),
    )
    names = field_names(group)
    arguments = {"tenant_id": tenant_id, "entity_ids": None if entity_ids is None else list(entity_ids)}
    with connection.cursor(name="feature_rows") as cursor:
        cursor.execute(query, arguments)
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield [TextRow(row[0], row[1], dict(zip(names, row[2:], strict=True))) for row in rows]
