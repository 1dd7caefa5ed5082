"""The event log: append and read.

Defines `EventStore`. Everything that writes to or reads from `event_log` in Python goes through it. Bulk writing stands
in `batch.py`, what is let in in `validation.py`, the tables and the safe cursor in migration 0002.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.batch import REFUSED_BY_POSTGRES, append_prepared, chunks, prepare, read_personal
from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog
from analytics_pipelines.event_log.encryption import SEALED
from analytics_pipelines.event_log.event import BatchResult, Event, Malformed, NewEvent
from analytics_pipelines.event_log.validation import Refusal, json_text, refusal, require_tenant
from analytics_pipelines.event_log.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.vault import PersonalEvent

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

_APPEND = """
    select stream_id, version from event_log.append(
        %(tenant_id)s, %(streams)s::text[], %(versions)s::integer[], %(sources)s::text[], %(event_ids)s::text[],
        %(stream_ids)s::text[], %(event_types)s::text[], %(schema_versions)s::smallint[], %(sequences)s::bigint[],
        %(moments)s::timestamptz[], %(correlation_ids)s::text[], %(causation_ids)s::text[],
        %(payloads)s::text[]::jsonb[])
"""

ATTEMPTS = 5

ANY_VERSION = None
"""Expected version: whatever the stream's version is."""
NO_STREAM = 0
"""Expected version: the stream has no event yet."""


class ConcurrencyError(PipelinesError):
    """Another writer appended to the stream first: load it again and decide anew."""


class InvalidEventError(PipelinesError):
    """An event breaks its schema, or repeats an identity with other content."""


class EventStore:
    """The log, over a pool of runtime sessions. Safe to share between threads."""

    def __init__(self, pool: ConnectionPool, catalog: Catalog = BUILT_IN, vault: Vault | None = None) -> None:
        """Take the pool; nothing is read or written yet.

        Args:
            pool: runtime sessions.
            catalog: the event types that may be appended.
            vault: what seals and reveals personal data; one with the master keys of the settings unless given.
        """
        self._pool = pool
        self._catalog = catalog
        self._vault = vault or Vault()

    def append(
        self,
        tenant_id: str,
        stream_id: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | None = ANY_VERSION,
        connection: Connection | None = None,
    ) -> int:
        """Append events to one stream, all or none, and return the stream's new version.

        Events that the log has already, with the same content, are passed over: a repeated call changes nothing.

        Args:
            tenant_id: whose stream.
            stream_id: the stream; every event must name it.
            events: what happened, in order.
            expected_version: append only when the stream is at this version; `NO_STREAM` means that it has no event
                yet, `ANY_VERSION` that it does not matter.
            connection: append within this session's open transaction, to commit with other writes of the caller.

        Raises:
            ConcurrencyError: the stream is at another version.
            InvalidEventError: an event is not valid, or its identity is taken by other content.
        """
        for event in events:
            if event.stream_id != stream_id:
                raise InvalidEventError(_refused(event, f"it names the stream {event.stream_id}"))
        expected = {} if expected_version is None else {stream_id: expected_version}
        versions = self.append_many(tenant_id, events, expected_versions=expected, connection=connection)
        return versions[stream_id]

    def append_many(
        self,
        tenant_id: str,
        events: Sequence[NewEvent],
        *,
        expected_versions: Mapping[str, int] | None = None,
        connection: Connection | None = None,
    ) -> dict[str, int]:
        """Append events to several streams, all or none, and return the new version of each.

        Otherwise as `append`.

        Args:
            tenant_id: whose streams.
            events: what happened, in order; each names its stream.
            expected_versions: the versions that streams must be at; any version where a stream is not named.
            connection: append within this session's open transaction.

        Raises:
            ConcurrencyError: a stream is at another version.
            InvalidEventError: an event is not valid, its identity is taken by other content or comes twice, or it is
                about a person who was erased.
            PipelinesError: it has personal fields and there is no master key.
        """
        require_tenant(tenant_id)
        payloads = self._payloads(tenant_id, events, connection)
        arguments = _arguments(tenant_id, events, payloads, expected_versions or {})
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._transaction(connection) as session:
                    return dict(session.execute(_APPEND, arguments).fetchall())
            except (errors.UniqueViolation, errors.DeadlockDetected):
                # Another writer was first with one of the identities. In the caller's transaction it stays unseen
                # where that reads a snapshot, so only the caller can begin again.
                if attempt == ATTEMPTS or connection is not None:
                    raise ConcurrencyError(
                        f"another writer appended {events[0].event_id} or its neighbours to {tenant_id} at the same "
                        "moment; begin again"
                    ) from None
            except errors.DatabaseError as error:
                explained = _explained(error)
                if explained is None:
                    raise
                raise explained from error
        raise AssertionError

    @contextmanager
    def _transaction(self, connection: Connection | None) -> Generator[Connection]:
        """Give a session for one statement: its own transaction in one round trip, or a part of the caller's."""
        if connection is not None:
            with connection.transaction():
                yield connection
            return
        with self._pool.connection() as session:
            session.autocommit = True
            try:
                yield session
            finally:
                if not session.closed:
                    session.autocommit = False

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
                prepared = prepare(chunk, partial(self._seal, tenant_id, None), self._catalog)
                if writing is not None:
                    result += writing.result()
                writing = writer.submit(append_prepared, self._pool, self._vault, tenant_id, prepared)
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
                events = [Event(**{**row, "data": _exact_json(row["data"])}) for row in rows]
                self._vault.reveal(
                    connection, [event for event, row in zip(events, rows, strict=True) if SEALED in row["data"]]
                )
            yield from events
            if len(events) < READ_BATCH:
                return
            arguments["after"] = events[-1].position

    def _payloads(self, tenant_id: str, events: Sequence[NewEvent], connection: Connection | None) -> list[str]:
        """Return the payloads of valid events as they are stored, as JSON text."""
        declared = [self._catalog.personal.get((event.event_type, event.schema_version)) for event in events]
        if not any(declared):
            return [_valid(event, self._catalog) for event in events]
        personal = [
            read_personal(event, fields, catalog=self._catalog)
            for event, fields in zip(events, declared, strict=True)
            if fields
        ]
        plain = {
            id(event): _valid(event, self._catalog)
            for event, fields in zip(events, declared, strict=True)
            if not fields
        }
        sealed = {
            id(item.event): text
            for item, text in zip(personal, self._seal(tenant_id, connection, personal), strict=True)
        }
        payloads: list[str] = []
        for event in events:
            text = plain[id(event)] if id(event) in plain else sealed[id(event)]
            if isinstance(text, Refusal):
                raise InvalidEventError(_refused(event, text.reason))
            payloads.append(text)
        return payloads

    def _seal(
        self, tenant_id: str, connection: Connection | None, events: Sequence[PersonalEvent]
    ) -> list[str | Refusal]:
        with nullcontext(connection) if connection else self._pool.connection() as session, session.transaction():
            return self._vault.seal(session, tenant_id, events)


def _arguments(
    tenant_id: str, events: Sequence[NewEvent], payloads: list[str], expected: Mapping[str, int]
) -> dict[str, object]:
    if not events:
        raise InvalidEventError("there is no event to append")
    identities = Counter((event.source, event.event_id) for event in events)
    for (source, event_id), times in identities.items():
        if times > 1:
            raise InvalidEventError(f"{event_id} of {source} is given {times} times; an event has an id of its own")
    return {
        "tenant_id": tenant_id,
        "streams": list(expected),
        "versions": list(expected.values()),
        "sources": [event.source for event in events],
        "event_ids": [event.event_id for event in events],
        "stream_ids": [event.stream_id for event in events],
        "event_types": [event.event_type for event in events],
        "schema_versions": [event.schema_version for event in events],
        "sequences": [event.sequence for event in events],
        "moments": [event.occurred_at for event in events],
        "correlation_ids": [event.correlation_id for event in events],
        "causation_ids": [event.causation_id for event in events],
        "payloads": payloads,
    }


def _valid(event: NewEvent, catalog: Catalog) -> str:
    """Return the payload of a valid event as JSON text."""
    try:
        text = json_text(event.data)
        refused = refusal(event, text, catalog=catalog)
    except ValueError as error:
        raise InvalidEventError(_refused(event, str(error))) from None
    if refused is not None:
        raise InvalidEventError(_refused(event, refused.reason))
    return text


def _refused(event: NewEvent, reason: str) -> str:
    return f"{event.event_type} {event.event_id} cannot be appended: {reason}"


def _explained(error: errors.DatabaseError) -> PipelinesError | None:
    """Say in our own words what the log refused, or None of any other error."""
    line = str(error).splitlines()[0]
    if error.sqlstate == "PL001":
        return ConcurrencyError(line)
    if error.sqlstate == "PL002":
        return InvalidEventError(f"the event {line}")
    return InvalidEventError(f"an event cannot be stored: {line}") if isinstance(error, REFUSED_BY_POSTGRES) else None
