"""Reading the log: by position, by stream, as objects and as Arrow.

Defines the queries and how their rows become events. Each batch is a query of its own, so that no transaction stays
open while the caller works. `EventStore` offers what stands here; how new events are waited for is `subscriptions.py`.
"""

# pyarrow has no types, and makes the functions of its module `compute` when it is loaded.
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from psycopg import ClientCursor, errors
from psycopg.conninfo import make_conninfo

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.cloud_events import exact_json
from analytics_pipelines.event_log.encryption import SEALED
from analytics_pipelines.event_log.event import Event
from analytics_pipelines.event_log.upcasting import OUTDATED, upcast
from analytics_pipelines.event_log.validation import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import pyarrow as pa
    from adbc_driver_manager import AdbcConnection, AdbcDatabase
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.vault import Vault

READ_BATCH = 5_000
ARROW_BATCH = 50_000
# A batch as Arrow ends early when its rows are this long together: 64 MB.
MOST_BYTES = 64_000_000
NEWEST_VERSION = 2**31 - 1
_NEWEST_POSITION = 2**63 - 1

_COLUMNS = f"{', '.join(Event._fields[:-1])}, data::text"
# What event_log.share_of() takes the rest of, written out: calling it takes four times as long for each row.
_HASH = "pg_catalog.sha256(pg_catalog.convert_to(stream_id, 'UTF8'))"
_SHARE = f"pg_catalog.get_byte({_HASH}, 0) * 256 + pg_catalog.get_byte({_HASH}, 1)"


def require_known_tenant(connection: Connection, tenant_id: str | None) -> None:
    """Refuse a tenant of which nothing was ever sent: a misspelt name is no empty answer. None stands for all.

    Raises:
        PipelinesError: neither the log nor the quarantine has anything of it.
    """
    row = connection.execute(
        """
        select %(tenant)s::text is null
            or exists (select from event_log.streams where tenant_id = %(tenant)s)
            or exists (select from event_log.quarantine where tenant_id = %(tenant)s)
        """,
        {"tenant": tenant_id},
    ).fetchone()
    if row != (True,):
        raise PipelinesError(f"tenant {str(tenant_id)[:100]!r} has no events; correct the name")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are read; None stands for all.

    Attributes:
        tenant_id: those of one tenant.
        event_types: those of these types.
        stream_id: those of one stream.
        share: those of the streams that fall to the first number, of so many shares as the second says.
        versions: those whose versions lie between the two, both included.
        vault: what reveals personal values in the `data` of objects; without one they stay sealed, as in Arrow.
    """

    tenant_id: str | None = None
    event_types: Sequence[str] | None = None
    stream_id: str | None = None
    share: tuple[int, int] | None = None
    versions: tuple[int, int] | None = None
    vault: Vault | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it is part of one stream, which has an index."""
        return self.tenant_id is not None and self.stream_id is not None

    def past(self, version: int, *, backward: bool = False) -> Selection:
        """Return what is left once a stream was read to this version, so that it is not scanned from its start again.

        Within a stream, versions go with positions: whoever appends holds the stream's head from before the first
        position to the end.
        """
        if not self.is_stream:
            return self
        return replace(self, versions=(1, version - 1) if backward else (version + 1, NEWEST_VERSION))

    def conditions(self, after: int, up_to: int) -> tuple[list[str], list[Any]]:
        """Return the conditions of a WHERE clause and their arguments, but for those of several types."""
        sent: list[tuple[str, list[Any]]] = [("position > %s", [after]), ("position <= %s", [up_to])]
        if self.tenant_id is not None:
            sent.append(("tenant_id = %s", [self.tenant_id]))
        if self.stream_id is not None:
            sent.append(("stream_id = %s", [self.stream_id]))
        if self.share is not None:
            sent.append((f"mod({_SHARE}, %s) = %s", [self.share[1], self.share[0]]))
        if self.versions is not None:
            sent.append(("stream_version between %s and %s", list(self.versions)))
        return [condition for condition, _ in sent], [argument for _, arguments in sent for argument in arguments]


ALL = Selection()


def settle(connection: Connection) -> int:
    """Return the settled position; the session must be in no transaction, and is in none afterwards.

    Raises:
        PipelinesError: the server is a standby.
    """
    try:
        with connection.transaction():
            row = connection.execute("select event_log.settle()").fetchone()
    except errors.ReadOnlySqlTransaction as error:
        raise PipelinesError(
            f"the log cannot be followed here: {str(error).splitlines()[0]}; point PIPELINES_DATABASE_URL at the "
            "primary"
        ) from None
    assert row is not None
    return row[0]


def read_once(  # noqa: PLR0913 - a range, by keyword
    connection: Connection, selection: Selection, *, after: int, up_to: int, limit: int, backward: bool = False
) -> list[Event]:
    """Return the first events of `(after, up_to]`, or the last of them, newest first; `up_to` must have settled."""
    events: list[Event] = []
    for low, high in _windows(selection, after, up_to, limit, backward=backward):
        query = _query(selection, low, high, limit - len(events), backward=backward)
        events += _events(connection, selection.vault, *query)
        if len(events) == limit:
            break
    return events


def _windows(
    selection: Selection, after: int, up_to: int, events: int, *, backward: bool = False
) -> Iterator[tuple[int, int]]:
    """Part `(after, up_to]` into windows, each four times as wide as the one before, where the planner may go wrong.

    No index has one tenant's events of all types in order. Where the planner takes a tenant for a rare one, as it does
    before it has statistics of it, it sorts all that the tenant has in the range - for each batch anew.
    """
    if selection.is_stream or selection.tenant_id is None or selection.event_types is not None:
        yield after, up_to
        return
    width = 2 * events
    while after < up_to:
        low, high = (max(after, up_to - width), up_to) if backward else (after, min(up_to, after + width))
        yield low, high
        after, up_to = (after, low) if backward else (high, up_to)
        width *= 4


def count(connection: Connection, selection: Selection, after: int, up_to: int) -> int:
    """Return how many events `(after, up_to]` holds."""
    conditions, arguments = selection.conditions(after, up_to)
    if selection.event_types is not None:
        conditions.append("event_type = any(%s)")
        arguments.append(list(selection.event_types))
    query = f"select count(*) from event_log.events where {' and '.join(conditions)}"  # noqa: S608 - constants
    row = connection.execute(query.encode(), arguments, prepare=False).fetchone()
    assert row is not None
    return row[0]


def read_batches(  # noqa: PLR0913 - a range, by keyword
    pool: ConnectionPool,
    selection: Selection,
    *,
    after: int,
    up_to: int | None,
    backward: bool = False,
    batch_events: int = READ_BATCH,
) -> Iterator[list[Event]]:
    """Yield the events of `(after, up_to]` in order of position, in lists of at most so many."""
    last = _settled_end(pool, up_to)
    while after < last:
        with pool.connection() as connection:
            events = read_once(connection, selection, after=after, up_to=last, limit=batch_events, backward=backward)
        if events:
            yield events
        if len(events) < batch_events:
            return
        newest = events[-1]
        selection = selection.past(newest.stream_version, backward=backward)
        after, last = (after, newest.position - 1) if backward else (newest.position, last)


def read_arrow(
    pool: ConnectionPool, selection: Selection, *, after: int, up_to: int | None, batch_events: int = ARROW_BATCH
) -> Iterator[pa.RecordBatch]:
    """Yield the events of `(after, up_to]` in order of position, as record batches of at most so many.

    A session of its own reads them, beside those of the pool.

    Raises:
        PipelinesError: the server is a standby.
        adbc_driver_manager.Error: Postgres cannot be reached, or refuses the query.
        OSError: it failed amid the rows.
    """
    last = _settled_end(pool, up_to)
    is_more = after < last
    if not is_more:
        return
    with _arrow_session(pool) as session:
        while is_more:
            is_more = False
            for low, high in _windows(selection, after, last, batch_events):
                query, arguments = _query(selection, low, high, batch_events)
                with pool.connection() as connection:  # COPY takes no arguments: they are quoted into the text
                    statement = ClientCursor(connection).mogrify(query.encode(), arguments)
                batches, is_cut = _fetch(session, statement)
                yield from batches
                if batches:
                    newest = batches[-1].slice(batches[-1].num_rows - 1).to_pylist()[0]
                    selection = selection.past(newest["stream_version"])
                    if is_cut or sum(batch.num_rows for batch in batches) == batch_events:
                        after, is_more = newest["position"], True
                        break


@cache
def _arrow_database(login: str) -> AdbcDatabase:
    """Name a server; the driver then reads what types it has, all of 50 ms, so once is enough."""
    import adbc_driver_postgresql

    return adbc_driver_postgresql.connect(login)


def _arrow_session(pool: ConnectionPool) -> AdbcConnection:
    """Open a session like those of the pool that fetches rows as Arrow, without a Python object for each."""
    from adbc_driver_manager import AdbcConnection

    with pool.connection() as connection:
        info = connection.info
        address = {name: getattr(info, name) for name in ("host", "hostaddr", "port", "dbname", "user", "password")}
        # Its parameters leave out what is as the environment would have it, which may say something else by now.
        from_environment = {
            option.keyword.decode(): option.val.decode()
            for option in connection.pgconn.info
            if option.val and option.envvar and option.envvar.decode() in os.environ
        }
        given = {name: value for name, value in address.items() if value}
        login = {**info.get_parameters(), **from_environment, **given, "client_encoding": "UTF8"}  # as Arrow's texts
    return AdbcConnection(_arrow_database(make_conninfo(**login)))


def _fetch(session: AdbcConnection, query: str) -> tuple[list[pa.RecordBatch], bool]:
    """Return the rows of a query, or as many of the first as there is room for; say whether there was no more."""
    import pyarrow as pa
    from adbc_driver_manager import AdbcStatement

    batches: list[pa.RecordBatch] = []
    room = MOST_BYTES
    with AdbcStatement(session) as statement:
        statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(MOST_BYTES // 4)})
        statement.set_sql_query(query)
        for batch in pa.RecordBatchReader.from_stream(statement.execute_query()[0]):
            batches.append(batch)
            room -= batch.nbytes
            if room <= 0:
                statement.cancel()  # else the rest of the rows is fetched and thrown away
                return batches, True
    return batches, False


def read_stream(  # noqa: PLR0913 - a stream and its limits, by keyword
    pool: ConnectionPool,
    vault: Vault | None,
    tenant_id: str,
    stream_id: str,
    *,
    from_version: int,
    backward: bool,
    as_of: datetime | None,
    as_of_log_time: datetime | None,
) -> Iterator[Event]:
    """Yield the events of one stream; see `EventStore.read_stream`."""
    selection = Selection(tenant_id, stream_id=stream_id, versions=(from_version, NEWEST_VERSION))
    conditions, arguments = selection.conditions(0, _NEWEST_POSITION)
    if as_of_log_time is not None:
        conditions.append("recorded_at <= %s")
        arguments.append(as_of_log_time)
    if as_of is not None:
        order = _ordered(("occurred_at", "sequence", 'event_id collate "C"', 'source collate "C"'), backward=backward)
        query = _select([*conditions, "occurred_at <= %s"], order)
        with pool.connection() as connection:
            events = _events(connection, vault, query, [*arguments, as_of])
        yield from events
        return
    order = _ordered(("stream_version",), backward=backward)
    query = _select([*conditions, "stream_version between %s and %s"], f"{order} limit %s")
    first, last = from_version, NEWEST_VERSION
    while True:
        with pool.connection() as connection:
            events = _events(connection, vault, query, [*arguments, first, last, READ_BATCH])
        yield from events
        if len(events) < READ_BATCH:
            return
        version = events[-1].stream_version
        first, last = (first, version - 1) if backward else (version + 1, last)


def _settled_end(pool: ConnectionPool, up_to: int | None) -> int:
    with pool.connection() as connection:
        settled = settle(connection)
    return settled if up_to is None else min(up_to, settled)


def _events(connection: Connection, vault: Vault | None, query: str, arguments: list[Any]) -> list[Event]:
    """Return the rows of a query as events, personal values revealed, payloads in the newest version of their type."""
    # Never prepared: one plan for every range and tenant would suit none of them.
    rows = connection.execute(query.encode(), arguments, prepare=False, binary=True).fetchall()
    events = list(map(Event._make, rows))
    if vault is not None:
        sealed = [event for event in events if SEALED in event.data_json]
        if sealed:
            vault.reveal(connection, sealed)
    return [_upcast(event) if (event.event_type, event.schema_version) in OUTDATED else event for event in events]


def _upcast(event: Event) -> Event:
    kept = cast("dict[str, Any]", exact_json(event.data_json.encode()))
    version, stored = upcast(event.event_type, event.schema_version, kept)
    newer = event._replace(schema_version=version, data_json=json_text(stored))
    if "data" in vars(event):  # decoded before, to be revealed
        vars(newer)["data"] = upcast(event.event_type, event.schema_version, event.data)[1]
    return newer


def _query(
    selection: Selection, after: int, up_to: int, limit: int, *, backward: bool = False
) -> tuple[str, list[Any]]:
    """Write the query of one batch, so that an index serves however rare the events are."""
    conditions, arguments = selection.conditions(after, up_to)
    types = None if selection.event_types is None else sorted(set(selection.event_types))
    order = _ordered(("stream_version" if selection.is_stream else "position",), backward=backward)
    if types is None or selection.is_stream or selection.tenant_id is None or len(types) == 1:
        if types is not None:
            conditions.append("event_type = %s" if len(types) == 1 else "event_type = any(%s)")
            arguments.append(types[0] if len(types) == 1 else types)
        return _select(conditions, f"{order} limit %s"), [*arguments, limit]
    # The index has each type in order: the first of each, and of these the first.
    query = f"""
        select {_COLUMNS}
        from (
            select first.position
            from unnest(%s::text[]) as wanted (event_type)
            cross join lateral (
                select position from event_log.events
                where event_type = wanted.event_type and {" and ".join(conditions)} order by {order} limit %s
            ) as first
            order by {order} limit %s
        ) as chosen
        join event_log.events using (position)
        order by {order}
    """  # noqa: S608 - made of constants
    return query, [types, *arguments, limit, limit]


def _ordered(keys: Sequence[str], *, backward: bool) -> str:
    return ", ".join(f"{key} desc" if backward else key for key in keys)


def _select(conditions: list[str], order: str) -> str:
    return f"select {_COLUMNS} from event_log.events where {' and '.join(conditions)} order by {order}"  # noqa: S608
