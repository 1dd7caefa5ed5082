"""The event log: append and read.

Defines `EventStore`. Everything that writes to or reads from `event_log` in Python goes through it. Bulk writing stands
in `batch.py`, what is let in in `validation.py`, the tables and the safe cursor in migration 0002.
"""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.batch import append_prepared, chunks, prepare
from analytics_pipelines.event_log.event import BatchResult, Event, Malformed, NewEvent
from analytics_pipelines.event_log.validation import json_text, refusal, require_tenant

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

READ_BATCH = 5_000
_exact_json = partial(json.loads, parse_float=Decimal)

_READ = """
    select
        position, tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence,
        occurred_at, recorded_at, correlation_id, causation_id, data::text as data
    from event_log.events
    where position > %(after)s and position <= %(up_to)s
        and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
        and (%(event_types)s::text[] is null or event_type = any(%(event_types)s))
        and (%(stream_id)s::text is null or stream_id = %(stream_id)s)
    order by position
    limit %(limit)s
"""

_LOCK_STREAM = """
    insert into event_log.streams (tenant_id, stream_id, version) values (%s, %s, 0)
    on conflict (tenant_id, stream_id) do update set version = streams.version
    returning version
"""

_IS_SAME = """
    select (event_type, stream_id, schema_version, sequence, occurred_at, data)
        is not distinct from (%s::text, %s::text, %s::smallint, %s::bigint, %s::timestamptz, %s::jsonb)
    from event_log.events
    where tenant_id = %s and source = %s and event_id = %s
"""

_INSERT = """
    insert into event_log.events (
        tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
        correlation_id, causation_id, data
    ) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)
"""


class ConcurrencyError(PipelinesError):
    """Another writer appended to the stream first: load it again and decide anew."""


class InvalidEventError(PipelinesError):
    """An event breaks its schema, or repeats an identity with other content."""


class EventStore:
    """The log, over a pool of runtime sessions. Safe to share between threads."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Take the pool; nothing is read or written yet."""
        self._pool = pool

    def append(
        self,
        tenant_id: str,
        stream_id: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | None = None,
        connection: Connection | None = None,
    ) -> int:
        """Append events to one stream, all or none, and return the stream's new version.

        Events that the log has already, with the same content, are passed over: a repeated call changes nothing.

        Args:
            tenant_id: whose stream.
            stream_id: the stream; every event must name it.
            events: what happened, in order.
            expected_version: append only when the stream is at this version; 0 means that it has no event yet.
            connection: append within this session's open transaction, to commit with other writes of the caller.

        Raises:
            ConcurrencyError: the stream is at another version.
            InvalidEventError: an event is not valid, or its identity is taken by other content.
        """
        require_tenant(tenant_id)
        valid = [(event, _valid(event, stream_id)) for event in events]
        source = self._pool.connection() if connection is None else nullcontext(connection)
        with source as session, session.transaction():
            return _append(session, tenant_id, stream_id, valid, expected_version)

    def append_batch(self, tenant_id: str, events: Iterable[NewEvent | Malformed]) -> BatchResult:
        """Append any number of events of any streams, in bounded memory, and say what became of them.

        Idempotent by identity: what the log has is counted as a duplicate, the same identity with other content is
        quarantined as a conflict, and so is whatever is not valid. Commits chunk by chunk; after an interruption the
        same call completes the rest.
        """
        require_tenant(tenant_id)
        result = BatchResult()
        # Python prepares the next chunk while Postgres writes this one: a third less time on two cores.
        with ThreadPoolExecutor(max_workers=1) as writer:
            writing: Future[BatchResult] | None = None
            for chunk in chunks(events):
                prepared = prepare(chunk)
                if writing is not None:
                    result += writing.result()
                writing = writer.submit(append_prepared, self._pool, tenant_id, prepared)
            if writing is not None:
                result += writing.result()
        return result

    def settled_position(self) -> int:
        """Return up to which position every writer has ended: nobody may read past it.

        Raises:
            PipelinesError: the server is a standby.
        """
        try:
            with self._pool.connection() as connection:
                row = connection.execute("select event_log.settle()").fetchone()
        except errors.ReadOnlySqlTransaction as error:
            raise PipelinesError(
                f"the log cannot be followed here: {str(error).splitlines()[0]}; point PIPELINES_DATABASE_URL at the "
                "primary"
            ) from None
        assert row is not None
        return row[0]

    def read(
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
    ) -> Iterator[Event]:
        """Yield events in order of position, from past `after` up to `up_to`, never past the settled position."""
        settled = self.settled_position()
        arguments: dict[str, Any] = {
            "after": after,
            "up_to": settled if up_to is None else min(up_to, settled),
            "tenant_id": tenant_id,
            "event_types": None if event_types is None else list(event_types),
            "stream_id": stream_id,
            "limit": READ_BATCH,
        }
        while True:
            with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(_READ, arguments).fetchall()
            for row in rows:
                row["data"] = _exact_json(row["data"])
                yield Event(**row)
            if len(rows) < READ_BATCH:
                return
            arguments["after"] = rows[-1]["position"]


def _valid(event: NewEvent, stream_id: str) -> str:
    """Return the payload of a valid event as JSON text."""
    try:
        text = json_text(event.data)
        refused = refusal(event, text)
        reason = refused.reason if refused else None
    except ValueError as error:
        text, reason = "", str(error)
    if reason is None and event.stream_id != stream_id:
        reason = f"it names the stream {event.stream_id}"
    if reason is not None:
        raise InvalidEventError(f"{event.event_type} {event.event_id} cannot be appended: {reason}")
    return text


def _append(
    session: Connection,
    tenant_id: str,
    stream_id: str,
    events: list[tuple[NewEvent, str]],
    expected_version: int | None,
) -> int:
    row = session.execute(_LOCK_STREAM, [tenant_id, stream_id]).fetchone()
    assert row is not None
    version: int = row[0]
    fresh = [(event, text) for event, text in events if not _is_known(session, tenant_id, event, text)]
    if fresh and expected_version is not None and version != expected_version:
        raise ConcurrencyError(
            f"stream {stream_id} of {tenant_id} is at version {version}, not {expected_version}; load it again"
        )
    for number, (event, text) in enumerate(fresh, version + 1):
        session.execute(
            _INSERT,
            [
                tenant_id, event.source, event.event_id, stream_id, number, event.event_type, event.schema_version,
                event.sequence, event.occurred_at, event.correlation_id, event.causation_id, text,
            ],
        )  # fmt: skip
    if fresh:
        session.execute(
            "update event_log.streams set version = %s where tenant_id = %s and stream_id = %s",
            [version + len(fresh), tenant_id, stream_id],
        )
    return version + len(fresh)


def _is_known(session: Connection, tenant_id: str, event: NewEvent, text: str) -> bool:
    content = [event.event_type, event.stream_id, event.schema_version, event.sequence, event.occurred_at, text]
    row = session.execute(_IS_SAME, [*content, tenant_id, event.source, event.event_id]).fetchone()
    if row is not None and not row[0]:
        raise InvalidEventError(
            f"{event.event_type} {event.event_id} of {event.source} is in the log with other content; use a new id"
        )
    return row is not None
