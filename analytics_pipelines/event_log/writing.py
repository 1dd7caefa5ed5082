"""Prepared chunks enter the log: set-based SQL around one COPY.

Defines how one chunk is written in one transaction - fresh events told from known ones, numbered within their streams,
copied, their identities written down, what is refused quarantined - and how the chunks of a batch follow each other.
`EventStore.append_batch` drives it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields
from threading import Event as Signal
from typing import TYPE_CHECKING

from psycopg import errors

from analytics_pipelines.event_log.batch import Prepared, Staged, columns
from analytics_pipelines.event_log.event import BatchResult, Malformed, NewEvent
from analytics_pipelines.event_log.validation import Refusal, json_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from psycopg import Connection, Cursor
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.vault import Vault

ATTEMPTS = 5
COPY_LINES = 1_000
AT_ONCE = 2
"""Chunks of a batch that are written at the same time, each by a session of its own."""

# The limit keeps the planner at one index probe for each identity, however it misjudges a table that grows.
_FIND_KNOWN = """
    select sent.source, sent.event_id
    from unnest(%b::text[], %b::text[]) as sent (source, event_id)
    cross join lateral (
        select from event_log.event_ids
        where tenant_id = %s and source = sent.source and event_id = sent.event_id limit 1
    ) as known
"""

_FIND_HEADS = """
    select head.stream_id, head.version
    from unnest(%b::text[]) as asked (stream_id)
    cross join lateral (
        select stream_id, version from event_log.streams
        where tenant_id = %s and stream_id = asked.stream_id limit 1
    ) as head
"""

# Stream heads are locked in sorted order, so that two writers never wait for each other in a circle.
_MOVE_HEADS = """
    insert into event_log.streams as head (tenant_id, stream_id, version)
    select %s, stream_id, events from unnest(%b::text[], %b::integer[]) as fresh (stream_id, events)
    order by stream_id collate "C"
    on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version
    returning stream_id, version
"""

# How many of the streams are then at the version that their events were numbered up to.
_MOVE_FORESEEN_HEADS = f"""
    with moved as ({_MOVE_HEADS})
    select count(*) from moved
    join unnest(%b::text[], %b::integer[]) as foreseen (stream_id, version) using (stream_id, version)
"""  # noqa: S608 - made of constants

_COPY = """
    copy event_log.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version, sequence,
        occurred_at, correlation_id, causation_id, data) from stdin
"""

_NEWEST_POSITION = "select case when is_called then last_value else 0 end from event_log.position_sequence"

# The events that this transaction wrote: beyond the sequence's value before it, among those of other writers.
_CLAIM_IDENTITIES = """
    insert into event_log.event_ids (position, tenant_id, source, event_id)
    select position, tenant_id, source, event_id from event_log.events
    where position > %s and xmin = pg_current_xact_id()::xid
"""

_FIND_CONFLICTS = """
    select sent.ordinal
    from unnest(
        %(ordinals)b::integer[], %(sources)b::text[], %(event_ids)b::text[], %(event_types)b::text[],
        %(stream_ids)b::text[], %(schema_versions)b::smallint[], %(sequences)b::bigint[], %(moments)b::timestamptz[],
        %(payloads)b::text[]
    ) as sent (ordinal, source, event_id, event_type, stream_id, schema_version, sequence, occurred_at, data)
    cross join lateral (
        select position, content_hash from event_log.event_ids
        where tenant_id = %(tenant_id)s and source = sent.source and event_id = sent.event_id limit 1
    ) as known
    left join lateral (
        select event_type, stream_id, schema_version, sequence, occurred_at, data
        from event_log.events where position = known.position limit 1
    ) as stored on known.content_hash is null
    where case
        when known.content_hash is null then
            (stored.event_type, stored.stream_id, stored.schema_version, stored.sequence, stored.occurred_at,
                stored.data)
            is distinct from
            (sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data::jsonb)
        else known.content_hash <> event_log.content_hash(
            sent.event_type, sent.stream_id, sent.schema_version, sent.sequence, sent.occurred_at, sent.data::jsonb)
    end
"""

_QUARANTINE = """
    insert into event_log.quarantine (tenant_id, kind, reason, source, event_id, origin, bytes, digest, is_sealed)
    values (%s, %s, %s, %s, %s, %s, %s, %s, true)
    on conflict (tenant_id, digest, kind) do nothing
"""

_REOPEN = "select event_log.reopen_dismissed(%s, %b::bytea[], %s::text[])"

TAKEN = Refusal("conflict", "id: the log has this source and id with other content")

_TAKEN_MEANWHILE = (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure)

# What Postgres says of a value that JSON allows and it cannot hold: refused rows, not a failed batch.
REFUSED_BY_POSTGRES = (errors.DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex)


class OvertakenError(Exception):
    """The chunk cannot be written as it was numbered: the one before it failed, or another writer used its streams."""


class AbandonedError(Exception):
    """The chunk must not be written: the one before it never was. Whoever appends is told of that one's error."""


class Turn:
    """A chunk's place in its batch: after the one before, and yet beside it.

    A chunk takes its positions once the one before has all of its own, and commits after it: the log, and the
    quarantine, have the events in the order in which they were sent. Meanwhile that one moves its streams' heads,
    writes down its identities and commits, a third of the work. The chunk therefore numbers its events from the
    versions that the one before will leave, and compares them with the heads when it moves these itself.

    Postgres cannot see that a session waits for another one here. So a chunk locks no table before it waits that the
    one before still has to lock, and takes none of the pool's sessions before that one has its own.

    Attributes:
        before: the turn of the chunk before; None when it has ended.
        looks_up: whether its events are looked for in the log, which locks `event_ids`.
        identities: of the events of this chunk that are new.
        versions: what the streams of this chunk will be at when it has committed.
        numbered: both are known, or it failed.
        copied: its events have their positions, or it failed.
        tried: it has committed, or its first attempt failed.
        is_first_success: it has committed at its first attempt.
        ended: it is over.
        is_written: it has committed.
    """

    def __init__(self, before: Turn | None = None, *, looks_up: bool = True) -> None:
        """Take the turn before, which still lasts."""
        self.before = before
        self.looks_up = looks_up
        self.identities: set[tuple[str, str]] = set()
        self.versions: dict[str, int] = {}
        self.numbered, self.copied, self.tried, self.ended = Signal(), Signal(), Signal(), Signal()
        self.is_first_success = False
        self.is_written = False

    @contextmanager
    def first_attempt(self) -> Generator[None]:
        """Attempt to write the chunk beside the one before, where that can be; the next one learns how it ended.

        Raises:
            AbandonedError: the one before was never written.
        """
        try:
            if self.before is not None:
                self.before.numbered.wait()
                if self.before.tried.is_set() or self.looks_up != self.before.looks_up:
                    self.await_ended()
            yield
            self.is_first_success = True
        finally:
            for signal in (self.tried, self.copied, self.numbered):
                signal.set()

    def await_ended(self) -> None:
        """Wait until the chunk before is over; from then on this one is the first.

        Raises:
            AbandonedError: the one before was never written.
        """
        if self.before is not None:
            self.before.ended.wait()
            if not self.before.is_written:
                raise AbandonedError
            self.before = None

    def known(self, identities: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of the identities that the log will have when the chunk before has committed."""
        return set() if self.before is None else self.before.identities.intersection(identities)

    def foresee(self, connection: Connection, tenant_id: str, streams: Iterable[str]) -> dict[str, int]:
        """Return the versions that streams will be at when the chunk before has committed."""
        assert self.before is not None
        left = {name: self.before.versions[name] for name in streams if name in self.before.versions}
        others = [name for name in streams if name not in left]
        heads = dict(connection.execute(_FIND_HEADS, [others, tenant_id]).fetchall())
        return dict.fromkeys(others, 0) | heads | left

    def number(self, heads: Mapping[str, int], added: Mapping[str, int]) -> None:
        """Tell the next chunk what the streams will be at."""
        self.versions = {stream_id: heads[stream_id] + events for stream_id, events in added.items()}
        self.numbered.set()

    def await_copied(self) -> None:
        """Wait until the chunk before has its positions."""
        if self.before is not None:
            self._wait(self.before, self.before.copied)

    def await_committed(self) -> None:
        """Wait until the chunk before has committed."""
        if self.before is not None:
            self._wait(self.before, self.before.tried)

    def move_heads(self, connection: Connection, moves: Sequence[object]) -> Cursor | None:
        """Move the heads of a chunk that foresaw them, once the one before has committed; return how many came true."""
        if self.before is None:
            return None
        self.await_committed()
        return connection.execute(_MOVE_FORESEEN_HEADS, [*moves, list(self.versions), list(self.versions.values())])

    @staticmethod
    def _wait(before: Turn, signal: Signal) -> None:
        """Wait for what the chunk before does.

        Raises:
            OvertakenError: it failed, and may be written again.
        """
        signal.wait()
        if before.tried.is_set() and not before.is_first_success:
            raise OvertakenError


def append_in_turn(
    pool: ConnectionPool, vault: Vault, tenant_id: str, chunks: Iterable[Prepared]
) -> Iterator[BatchResult]:
    """Append prepared chunks, two at once and yet in order; yield what became of each.

    Python prepares a chunk while Postgres writes the two before it. Events are taken for new until one is not: then
    the rest of the batch is looked for in the log beforehand.
    """
    at_once = AT_ONCE if pool.max_size > AT_ONCE else 1  # whoever prepares needs a session, too, to seal
    with ThreadPoolExecutor(max_workers=at_once) as writers:
        writing: deque[Future[BatchResult]] = deque()
        turn: Turn | None = None
        is_new = True

        def ended() -> BatchResult:
            nonlocal is_new
            result = writing.popleft().result()
            is_new = is_new and result.accepted == result.sent
            return result

        for prepared in chunks:
            while writing and (len(writing) == at_once or writing[0].done()):
                yield ended()
            turn = Turn(turn if writing else None, looks_up=not is_new)
            writing.append(writers.submit(_append, pool, vault, tenant_id, prepared, turn))
        while writing:
            yield ended()


def _append(pool: ConnectionPool, vault: Vault, tenant_id: str, prepared: Prepared, turn: Turn) -> BatchResult:
    """Append a chunk beside the one before it; if that fails, alone and after it."""
    result: BatchResult | None = None
    try:
        with suppress(OvertakenError, *_TAKEN_MEANWHILE, *REFUSED_BY_POSTGRES), turn.first_attempt():
            result = _attempt(pool, vault, tenant_id, prepared, turn)
        if result is None:
            turn.await_ended()
            result = append_prepared(pool, vault, tenant_id, prepared)
        turn.is_written = True
        return result
    finally:
        turn.before = None
        turn.ended.set()


def append_prepared(pool: ConnectionPool, vault: Vault, tenant_id: str, prepared: Prepared) -> BatchResult:
    """Append one prepared chunk in one transaction and say what became of each of its events.

    Args:
        pool: runtime sessions.
        vault: what seals the bytes of what is refused.
        tenant_id: whose events they are.
        prepared: the chunk.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(pool, vault, tenant_id, prepared, Turn())
        except _TAKEN_MEANWHILE:
            # The log has one of the identities, or another writer was first with it: begin again and see it.
            if attempt == ATTEMPTS:
                raise
        except REFUSED_BY_POSTGRES as error:
            staged, refused = prepared.staged, prepared.refused
            if not staged:
                raise
            if len(staged) == 1:
                reason = Refusal("invalid", f"data: {str(error).splitlines()[0]}")
                return append_prepared(pool, vault, tenant_id, Prepared([], [*refused, (staged[0].event, reason)]))
            # Some event of the chunk cannot be stored: halve until it stands alone.
            half = len(staged) // 2
            first = append_prepared(pool, vault, tenant_id, Prepared(staged[:half], refused))
            return first + append_prepared(pool, vault, tenant_id, Prepared(staged[half:]))
    raise AssertionError


def _attempt(pool: ConnectionPool, vault: Vault, tenant_id: str, prepared: Prepared, turn: Turn) -> BatchResult:
    """Write one chunk in one transaction: all of it, or nothing."""
    staged = prepared.staged
    fresh: list[NewEvent] = []
    conflicts: list[NewEvent] = []
    with pool.connection() as connection:
        with connection.pipeline():
            connection.execute("select event_log.make_partitions()")
            connection.commit()
        with connection.transaction(), connection.cursor() as cursor:
            if turn.before is not None:  # it will wait, which is not being idle
                connection.execute("set local idle_in_transaction_session_timeout = 0")
            if staged:
                fresh, conflicts = write(cursor, tenant_id, staged, turn)
            quarantined = [*prepared.refused, *((event, TAKEN) for event in conflicts)]
            turn.await_committed()
            if quarantined:
                rows = [_quarantine_row(tenant_id, *item) for item in quarantined]
                contents = vault.lock_refused(connection, tenant_id, [content for _, content, _ in rows])
                cursor.executemany(
                    _QUARANTINE,
                    [[*texts, content, digest] for (texts, _, digest), content in zip(rows, contents, strict=True)],
                )
                kinds = [reason.kind for _, reason in quarantined]
                cursor.execute(_REOPEN, [tenant_id, [digest for _, _, digest in rows], kinds])
    erased = sum(reason.kind == "erased" for _, reason in prepared.refused)
    return BatchResult(len(fresh), len(staged) - len(fresh) - len(conflicts), len(quarantined), erased)


def write(
    cursor: Cursor, tenant_id: str, staged: list[Staged], turn: Turn | None = None
) -> tuple[list[NewEvent], list[NewEvent]]:
    """Append those of the prepared events that are new; return them, and those in conflict. The others are duplicates.

    Args:
        cursor: of a session in a transaction.
        tenant_id: whose events they are.
        staged: the events.
        turn: their place in a batch, of which another chunk may be written at this moment. If it does not look them up
            they are taken for new, a tenth less work.

    Raises:
        errors.UniqueViolation: another writer was first with one of the identities, or the log has one of those that
            were not looked up.
        OvertakenError: the chunk before in the batch failed, or another writer moved on one of the streams.
    """
    turn = turn or Turn()
    fresh, repeated = _split(cursor, tenant_id, staged, turn)
    if fresh:
        _insert(cursor, tenant_id, fresh, turn)
    conflicts: list[NewEvent] = []
    if repeated:
        turn.await_committed()
        conflicts = _conflicts(cursor, tenant_id, repeated)
    return [item.event for item in fresh], conflicts


def _split(cursor: Cursor, tenant_id: str, staged: list[Staged], turn: Turn) -> tuple[list[Staged], list[Staged]]:
    """Tell the events whose identity comes for the first time from the others."""
    sources, event_ids = [item.event.source for item in staged], [item.event.event_id for item in staged]
    identities = list(zip(sources, event_ids, strict=True))
    known = turn.known(identities)
    if turn.looks_up:
        known.update(cursor.execute(_FIND_KNOWN, [sources, event_ids, tenant_id]).fetchall())
    turn.identities = set(identities) - known
    if len(turn.identities) == len(staged):
        return staged, []
    fresh: list[Staged] = []
    repeated: list[Staged] = []
    for item, identity in zip(staged, identities, strict=True):
        if identity in known:
            repeated.append(item)
        else:
            known.add(identity)
            fresh.append(item)
    return fresh, repeated


def _insert(cursor: Cursor, tenant_id: str, fresh: list[Staged], turn: Turn) -> None:
    """Number events within their streams and write them straight into the log: staging them first took as long again.

    Raises:
        errors.UniqueViolation: another writer was first with one of the identities.
        OvertakenError: they cannot keep their numbers.
    """
    connection = cursor.connection
    added = Counter(item.event.stream_id for item in fresh)
    moves = [tenant_id, list(added), list(added.values())]
    with connection.pipeline():
        newest = connection.execute(_NEWEST_POSITION)
        if turn.before is None:
            moved = connection.execute(_MOVE_HEADS, moves)
            heads = {stream_id: version - added[stream_id] for stream_id, version in moved}
        else:
            heads = turn.foresee(connection, tenant_id, added)
    turn.number(heads, added)
    before = newest.fetchone()
    assert before is not None
    turn.await_copied()
    with cursor.copy(_COPY) as copy:
        for start in range(0, len(fresh), COPY_LINES):
            lines: list[str] = []
            for item in fresh[start : start + COPY_LINES]:
                stream_id = item.event.stream_id
                heads[stream_id] = version = heads[stream_id] + 1
                lines.append(f"{tenant_id}\t{version}\t{item.text}\n")
            copy.write("".join(lines))
    turn.copied.set()
    with connection.pipeline():
        moved = turn.move_heads(connection, moves)
        # Never prepared: a plan for any position would read the whole table.
        claimed = cursor.execute(_CLAIM_IDENTITIES, before, prepare=False)
    if moved is not None and moved.fetchone() != (len(added),):
        raise OvertakenError
    if claimed.rowcount != len(fresh):
        raise AssertionError(f"{claimed.rowcount} of {len(fresh)} events have got their identity written down")


def _conflicts(cursor: Cursor, tenant_id: str, repeated: list[Staged]) -> list[NewEvent]:
    """Return those whose identity the log has with other content."""
    events = [item.event for item in repeated]
    arguments = {
        "tenant_id": tenant_id,
        "ordinals": list(range(len(events))),
        **columns(events),
        "payloads": [item.data for item in repeated],
    }
    return [events[ordinal] for (ordinal,) in cursor.execute(_FIND_CONFLICTS, arguments).fetchall()]


def _quarantine_row(tenant_id: str, item: NewEvent | Malformed, reason: Refusal) -> tuple[list[object], bytes, bytes]:
    """Return the columns before the bytes, the bytes and their digest."""
    if isinstance(item, Malformed):
        source, event_id, origin, content = None, None, item.origin, item.content
    else:
        source, event_id, origin = item.source, item.event_id, item.origin or item.source
        content = _content(item) if item.raw is None else item.raw
    texts = [None if text is None else readable(text) for text in (reason.reason, source, event_id, origin)]
    digest = hashlib.sha256(content).digest()
    if reason.kind == "erased":  # nothing of it is kept, not even a digest by which a guess could be tried
        content, digest = b"", hashlib.sha256(f"{source}\0{event_id}".encode("utf-8", "replace")).digest()
    return [tenant_id, reason.kind, *texts], content, digest


def _content(event: NewEvent) -> bytes:
    """Write down an event that was refused, whatever is in it: as JSON where that is possible; see `event_of()`."""
    sent = {name.name: getattr(event, name.name) for name in fields(event)}
    with suppress(ValueError):
        sent["data"] = json_text(event.data)  # as text: its decimals keep every digit
    try:
        return json.dumps(sent, default=str).encode("ascii")
    except (RecursionError, TypeError, ValueError):
        return repr(sent).encode("utf-8", "backslashreplace")


def readable(text: str) -> str:
    """Replace what a text column cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
