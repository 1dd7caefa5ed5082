"""Who is who, for those who may see people.

Defines how `vault.subject_profile` is filled: in Python, because only here personal values can be read. The database
keeps the newest value of each field and leaves out who was erased.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.catalog import Catalog, configured_catalog
from analytics_pipelines.event_log.encryption import Encrypted, Erased
from analytics_pipelines.event_log.store import EventStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.event import Event
    from analytics_pipelines.event_log.personal import PersonalFields

BATCH = 5_000
_WRITE = """
    select vault.write_profile(%s, %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::bigint[],
        %s::text[], %s::text[])
"""


def refresh_profiles(
    pool: ConnectionPool, connection: Connection, up_to: int, catalog: Catalog | None = None
) -> dict[str, int]:
    """Take what is new in the log into the profiles, and return how many each tenant has.

    Args:
        pool: sessions to read the log with.
        connection: the transaction to write in.
        up_to: the position to fill to.
        catalog: which types tell of people; that of the settings unless given.

    Raises:
        PipelinesError: the master key is not the right one.
    """
    row = connection.execute("select position from vault.profiled").fetchone()
    newest: dict[tuple[str, str, str], tuple[tuple[Any, ...], Any]] = {}
    after = 0 if row is None else row[0]
    personal = (catalog or configured_catalog()).personal
    types = sorted({event_type for event_type, _ in personal})
    for event in EventStore(pool).read(after=after, up_to=up_to, event_types=types):
        order = (event.occurred_at, event.sequence, event.event_id, event.source)
        for subject, field, value in _values(event, personal.get((event.event_type, event.schema_version))):
            key = (event.tenant_id, subject, field)
            if key not in newest or newest[key][0] < order:
                newest[key] = (order, value)
        if len(newest) >= BATCH:
            _write(connection, event.position, newest)
            newest.clear()
    _write(connection, up_to, newest)
    return dict(connection.execute("select tenant_id, people from vault.people()").fetchall())


def _values(event: Event, declared: PersonalFields | None) -> Iterator[tuple[str, str, Any]]:
    subject = declared and declared.subject(event.data)
    if declared is None or subject is None:
        return
    for name, value in declared.values(event.data).items():
        if isinstance(value, Encrypted):
            raise PipelinesError(
                "the profiles of people cannot be read without the master key; set PIPELINES_MASTER_KEY"
            )
        if not isinstance(value, Erased):
            yield subject, name, value


def _write(connection: Connection, up_to: int, newest: dict[tuple[str, str, str], tuple[tuple[Any, ...], Any]]) -> None:
    keys, rows = list(newest), list(newest.values())
    connection.execute(
        _WRITE,
        [
            up_to,
            [tenant for tenant, _, _ in keys],
            [subject for _, subject, _ in keys],
            [field for _, _, field in keys],
            [orjson.dumps(value, default=str).decode() for _, value in rows],
            *([order[place] for order, _ in rows] for place in range(4)),
        ],
    )
