"""The event log: append and read.

Defines `EventStore`. Everything that writes to or reads from `event_log` in Python goes through it. Bulk writing stands
in `batch.py` and `writing.py`, reading in `reading.py` and `subscriptions.py`, what is let in in `validation.py`, the
tables and the safe cursor in migrations 0002 and 0008.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from psycopg import errors

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import reading, statistics
from analytics_pipelines.event_log.batch import chunks, columns, prepare, read_personal
from analytics_pipelines.event_log.bell import ring
from analytics_pipelines.event_log.catalog import Catalog, configured_catalog
from analytics_pipelines.event_log.durable import DurableSubscription
from analytics_pipelines.event_log.event import BatchResult, Event, Malformed, NewEvent
from analytics_pipelines.event_log.reading import Selection
from analytics_pipelines.event_log.subscriptions import (
    BUFFER_EVENTS,
    POLL_SECONDS,
    Subscription,
    WhenFull,
)
from analytics_pipelines.event_log.validation import Refusal, json_text, refusal, require_tenant
from analytics_pipelines.event_log.vault import Vault
from analytics_pipelines.event_log.writing import REFUSED_BY_POSTGRES, append_in_turn

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection
    from psycopg_pool import ConnectionPool
    from pyarrow import RecordBatch

    from analytics_pipelines.event_log.statistics import Writer
    from analytics_pipelines.event_log.vault import PersonalEvent

# The lists are sent in binary form: written as text, those of a hundred events took Python 21 us an event, now 2.5.
_APPEND = """
    select stream_id, version from event_log.append(
        %(tenant_id)s, %(streams)b::text[], %(versions)b::integer[], %(sources)b::text[], %(event_ids)b::text[],
        %(stream_ids)b::text[], %(event_types)b::text[], %(schema_versions)b::smallint[], %(sequences)b::bigint[],
        %(moments)b::timestamptz[], %(correlation_ids)b::text[], %(causation_ids)b::text[], %(payloads)b::text[],
        %(look_up)s)
"""

_APPEND_STREAM = """
    select event_log.append_stream(
        %(tenant_id)s, %(stream_id)s, %(expected)s::integer, %(sources)b::text[], %(event_ids)b::text[],
        %(event_types)b::text[], %(schema_versions)b::smallint[], %(sequences)b::bigint[], %(moments)b::timestamptz[],
        %(correlation_ids)b::text[], %(causation_ids)b::text[], %(payloads)b::text[])
"""

_APPEND_ONE = """
    select event_log.append_one(%s, %s::integer, %s, %s, %s, %s, %s::smallint, %s::bigint, %s, %s, %s, %s::jsonb)
"""

ATTEMPTS = 5
OTHER_VERSION = "PL001"
"""What `event_log.append` raises where a stream is not at the expected version."""

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

    def __init__(self, pool: ConnectionPool, catalog: Catalog | None = None, vault: Vault | None = None) -> None:
        """Take the pool; nothing is read or written yet.

        Args:
            pool: runtime sessions.
            catalog: the event types that may be appended; that of the settings, read when first needed, unless given.
            vault: what seals and reveals personal data; one with the master keys of the settings unless given.
        """
        self._pool = pool
        self._given_catalog = catalog
        self._vault = vault or Vault()

    @cached_property
    def _catalog(self) -> Catalog:
        return self._given_catalog or configured_catalog()

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
                Subscriptions are not woken then; they see the events when they look by themselves.

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
        # Events are taken for new at first, but not in the caller's transaction: a repeated call would wait for the
        # stream's writers there, deadlock with them, or fail to serialize, though it has nothing to write.
        within = connection is not None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._transaction(connection) as session:
                    versions = _append(session, arguments, look_up=within or attempt > 1)
            except errors.DatabaseError as error:
                self._begin_again(
                    error, attempt, f"{events[0].event_id} or its neighbours to {tenant_id}", within=within
                )
            else:
                if connection is None:
                    ring(self._pool)
                return versions
        raise AssertionError

    def _begin_again(self, error: errors.DatabaseError, attempt: int, sent: str, *, within: bool) -> None:
        """Return where another attempt may succeed; else say what the log refused.

        Args:
            error: what Postgres said.
            attempt: how often it was tried.
            sent: what was not appended, in words.
            within: it was tried in the caller's transaction. What another writer was first with stays unseen there if
                it reads a snapshot: only the caller can begin again.
        """
        is_last = within or attempt == ATTEMPTS
        if attempt == 1 and not within and error.sqlstate == OTHER_VERSION:
            return  # perhaps the log has these very events: the next attempt looks for them
        if isinstance(error, (errors.UniqueViolation, errors.DeadlockDetected)):
            if is_last:
                raise ConcurrencyError(f"another writer appended {sent} at the same moment; begin again") from None
        elif isinstance(error, errors.CheckViolation) and not is_last:
            # The partitions made ahead are full: this session has nothing to undo, so it makes the next.
            with self._pool.connection() as session:
                session.execute("select event_log.make_partitions()")
        else:
            explained = _explained(error)
            if explained is None:
                raise error
            raise explained from error

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
        same call completes the rest. Takes two sessions of the pool, and a third while personal values are sealed.
        """
        require_tenant(tenant_id)
        result = BatchResult()
        seal = partial(self._seal, tenant_id, None)
        prepared = (prepare(chunk, seal, self._catalog) for chunk in chunks(events))
        for written in append_in_turn(self._pool, self._vault, tenant_id, prepared):
            ring(self._pool)
            result += written
        return result

    def settled_position(self) -> int:
        """Return up to which position every writer has ended: nobody may read past it.

        Raises:
            PipelinesError: the server is a standby.
        """
        with self._pool.connection() as connection:
            return reading.settle(connection)

    def read(  # noqa: PLR0913 - a range and a selection, by keyword
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
        backward: bool = False,
    ) -> Iterator[Event]:
        """Yield events in order of position, from past `after` up to `up_to`, never past the settled position.

        Args:
            after: the position that the events lie past.
            up_to: the last position; the settled one unless it is lower.
            tenant_id: only those of one tenant.
            event_types: only those of these types.
            stream_id: only those of one stream.
            backward: the newest first.
        """
        selection = Selection(tenant_id, event_types, stream_id, vault=self._vault)
        batches = reading.read_batches(self._pool, selection, after=after, up_to=up_to, backward=backward)
        return chain.from_iterable(batches)

    def read_batches(  # noqa: PLR0913 - a range and a selection, by keyword
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
        backward: bool = False,
        batch_events: int = reading.READ_BATCH,
    ) -> Iterator[list[Event]]:
        """Yield the same events as `read`, in lists of at most `batch_events`."""
        selection = Selection(tenant_id, event_types, stream_id, vault=self._vault)
        return reading.read_batches(
            self._pool, selection, after=after, up_to=up_to, backward=backward, batch_events=batch_events
        )

    def read_arrow(  # noqa: PLR0913 # pyright: ignore[reportUnknownParameterType] - pyarrow has no types
        self,
        *,
        after: int = 0,
        up_to: int | None = None,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
        batch_events: int = reading.ARROW_BATCH,
    ) -> Iterator[RecordBatch]:
        """Yield the same events as `read`, forward, as Arrow: a column for each of the log's, `data` as JSON text."""
        selection = Selection(tenant_id, event_types, stream_id, vault=self._vault)
        return reading.read_arrow(self._pool, selection, after=after, up_to=up_to, batch_events=batch_events)

    def read_stream(  # noqa: PLR0913 - a stream and its limits, by keyword
        self,
        tenant_id: str,
        stream_id: str,
        *,
        from_version: int = 1,
        backward: bool = False,
        as_of: datetime | None = None,
        as_of_log_time: datetime | None = None,
    ) -> Iterator[Event]:
        """Yield the committed events of one stream in order of version.

        It does not wait for the settled position: whoever appends holds the stream, so none of it can be missing.

        Args:
            tenant_id: whose stream.
            stream_id: the stream.
            from_version: the lowest version.
            backward: the last first.
            as_of: only what had occurred by then; in order of event time, sequence, id and source. Such a stream is
                held in memory.
            as_of_log_time: only what had been recorded by then.
        """
        return reading.read_stream(
            self._pool,
            self._vault,
            tenant_id,
            stream_id,
            from_version=from_version,
            backward=backward,
            as_of=as_of,
            as_of_log_time=as_of_log_time,
        )

    def subscribe(  # noqa: PLR0913 - a selection and a manner, by keyword
        self,
        *,
        after: int | None = None,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
        buffer_events: int = BUFFER_EVENTS,
        when_full: WhenFull = "block",
        poll_seconds: float = POLL_SECONDS,
    ) -> Subscription:
        """Follow the log from here on: an iterator over events as they settle, also for `async for`.

        Args:
            after: the position that the events lie past; the settled one unless given.
            tenant_id: only those of one tenant.
            event_types: only those of these types.
            stream_id: only those of one stream.
            buffer_events: how many events are held at most.
            when_full: what becomes of the events beyond these when the reader comes for more: `block` leaves them in
                the log until they are asked for; `drop_oldest` and `drop_newest` pass over them and yield a `Gap`.
            poll_seconds: after how long at most it looks again, if no appender rings the bell.

        Raises:
            PipelinesError: the server is a standby.
        """
        return Subscription(
            self._pool,
            Selection(tenant_id, event_types, stream_id, vault=self._vault),
            after=after,
            buffer_events=buffer_events,
            when_full=when_full,
            poll_seconds=poll_seconds,
        )

    def subscription(  # noqa: PLR0913 - a selection and a manner, by keyword
        self,
        name: str,
        *,
        after: int = 0,
        tenant_id: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_id: str | None = None,
        shares: int = 1,
        batch_events: int = 1_000,
        poll_seconds: float = POLL_SECONDS,
    ) -> DurableSubscription:
        """Return a durable subscription, made when the name is new; several processes may work on it.

        Args:
            name: what its position is kept by, within the tenant; give the same selection each time.
            after: where a new one begins.
            tenant_id: only the events of one tenant.
            event_types: only those of these types.
            stream_id: only those of one stream.
            shares: into how many shares its streams are parted: as many processes can work at once. With one, all
                events are handled in order of position; with more, those of each stream are. Never changes.
            batch_events: how many events its handler gets at most.
            poll_seconds: after how long at most it looks again, if no appender rings the bell.

        Raises:
            PipelinesError: the server is a standby, or the name stands for another number of shares.
        """
        return DurableSubscription(
            self._pool,
            name,
            Selection(tenant_id, event_types, stream_id, vault=self._vault),
            after=after,
            shares=shares,
            batch_events=batch_events,
            poll_seconds=poll_seconds,
        )

    def open_writers(self) -> list[Writer]:
        """Return the transactions that hold the settled position back, oldest first."""
        with self._pool.connection() as connection:
            return statistics.open_writers(connection)

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


def _append(session: Connection, arguments: dict[str, Any], *, look_up: bool) -> dict[str, int]:
    """Append the events and return the new versions; those that are taken for new, of one stream, in a shorter way."""
    stream_id = arguments["stream_ids"][0]
    if look_up or any(other != stream_id for other in arguments["stream_ids"]):
        return dict(session.execute(_APPEND, {**arguments, "look_up": look_up}).fetchall())
    expected = next(iter(arguments["versions"]), None)
    if len(arguments["event_ids"]) == 1:
        names = ("sources", "event_ids", "stream_ids", "event_types", "schema_versions", "sequences", "moments")
        names += ("correlation_ids", "causation_ids", "payloads")
        values = [arguments["tenant_id"], expected, *(arguments[name][0] for name in names)]
        row = session.execute(_APPEND_ONE, values).fetchone()
    else:
        one_stream = {**arguments, "stream_id": stream_id, "expected": expected}
        row = session.execute(_APPEND_STREAM, one_stream).fetchone()
    assert row is not None
    return {stream_id: row[0]}


def _arguments(
    tenant_id: str, events: Sequence[NewEvent], payloads: list[str], expected: Mapping[str, int]
) -> dict[str, Any]:
    if not events:
        raise InvalidEventError("there is no event to append")
    strangers = expected.keys() - {event.stream_id for event in events}
    if strangers:
        raise InvalidEventError(f"a version is expected of {', '.join(sorted(strangers))}, which gets no event")
    identities = Counter((event.source, event.event_id) for event in events)
    for (source, event_id), times in identities.items():
        if times > 1:
            raise InvalidEventError(f"{event_id} of {source} is given {times} times; an event has an id of its own")
    return {
        "tenant_id": tenant_id,
        "streams": list(expected),
        "versions": list(expected.values()),
        **columns(events),
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
    if error.sqlstate == OTHER_VERSION:
        return ConcurrencyError(line)
    if error.sqlstate == "PL002":
        return InvalidEventError(f"the event {line}")
    return InvalidEventError(f"an event cannot be stored: {line}") if isinstance(error, REFUSED_BY_POSTGRES) else None
