"""Bulk appending: set-based SQL around one COPY.

Defines how one chunk of events enters the log in one transaction: validate, seal what is personal, tell fresh events
from known ones, number them within their streams, COPY them, write down their identities, and quarantine what is
refused.
`EventStore.append_batch` drives it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import orjson
from psycopg import errors

from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog
from analytics_pipelines.event_log.event import BatchResult, Malformed, NewEvent
from analytics_pipelines.event_log.validation import AHEAD, Refusal, json_text, refusal
from analytics_pipelines.event_log.vault import PersonalEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import Connection, Cursor
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.personal import PersonalFields
    from analytics_pipelines.event_log.vault import Vault

    Item = TypeVar("Item")
    Seal = Callable[[Sequence[PersonalEvent]], list[str | Refusal]]

CHUNK_EVENTS = 20_000
CHUNK_CHARACTERS = 32_000_000
OTHER_CHARACTERS = 8
"""What a value weighs beside its text: many numbers are long, too."""
ATTEMPTS = 5
COPY_LINES = 1_000

# The limit keeps the planner at one index probe for each identity, however it misjudges a table that grows.
_FIND_KNOWN = """
    select sent.source, sent.event_id
    from unnest(%b::text[], %b::text[]) as sent (source, event_id)
    cross join lateral (
        select from event_log.event_ids
        where tenant_id = %s and source = sent.source and event_id = sent.event_id limit 1
    ) as known
"""

# Stream heads are locked in sorted order, so that two writers never wait for each other in a circle.
_MOVE_HEADS = """
    insert into event_log.streams as head (tenant_id, stream_id, version)
    select %s, stream_id, events from unnest(%b::text[], %b::integer[]) as fresh (stream_id, events)
    order by stream_id collate "C"
    on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version
    returning stream_id, version
"""

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
        %(ordinals)b::integer[], %(sources)b::text[], %(event_ids)b::text[], %(types)b::text[], %(streams)b::text[],
        %(schema_versions)b::smallint[], %(sequences)b::bigint[], %(moments)b::timestamptz[], %(data)b::text[]
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

TAKEN = Refusal("conflict", "id: the log has this source and id with other content")

# What Postgres says of a value that JSON allows and it cannot hold: refused rows, not a failed batch.
REFUSED_BY_POSTGRES = (errors.DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex)


class Staged(NamedTuple):
    """A valid event with its COPY fields, and its payload as it is stored."""

    event: NewEvent
    text: str
    data: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk ready to be written: valid events, and what was refused with the reason."""

    staged: list[Staged] = field(default_factory=list)
    refused: list[tuple[NewEvent | Malformed, Refusal]] = field(default_factory=list)


def chunks(events: Iterable[NewEvent | Malformed]) -> Iterator[list[NewEvent | Malformed]]:
    """Cut a stream of events into chunks that fit a transaction and bounded memory."""
    return cut(events, _weight_of_event, CHUNK_EVENTS)


def _weight_of_event(event: NewEvent | Malformed) -> int:
    if isinstance(event, Malformed):
        return len(event.content)
    return len(event.raw or "") + weight(event.data)


def cut(items: Iterable[Item], weigh: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Cut items into chunks of bounded memory: of so many items at most, and fewer where they weigh much."""
    chunk: list[Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += weigh(item)
        if len(chunk) >= most or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def weight(value: object) -> int:
    """Return about how many characters a value holds, without writing it down; a very large one is not read to its end.

    Args:
        value: a payload, or what a row holds.
    """
    if isinstance(value, str):
        return len(value)
    characters, waiting = 0, [value]
    while waiting and characters < CHUNK_CHARACTERS:
        item = waiting.pop()
        if isinstance(item, (str, bytes)):
            characters += len(item)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        characters += OTHER_CHARACTERS
    return characters


def prepare(chunk: list[NewEvent | Malformed], seal: Seal, catalog: Catalog = BUILT_IN) -> Prepared:
    """Validate one chunk and write its rows as COPY wants them.

    Args:
        chunk: what was sent.
        seal: how personal values are encrypted; called once, for the events of types that have some.
        catalog: the event types that may be appended.
    """
    outcomes: list[str | Refusal] = []
    personal: dict[int, PersonalEvent] = {}
    latest = datetime.now(UTC) + AHEAD
    for place, item in enumerate(chunk):
        if isinstance(item, Malformed):
            outcomes.append(Refusal("malformed", item.reason))
            continue
        declared = catalog.personal.get((item.event_type, item.schema_version))
        if declared is not None:
            personal[place] = read_personal(item, declared, latest, catalog)
            outcomes.append("")
            continue
        try:
            data = json_text(item.data)
        except ValueError as error:
            outcomes.append(Refusal("invalid", str(error)))
        else:
            outcomes.append(refusal(item, data, latest, catalog) or data)
    if personal:
        for place, outcome in zip(personal, seal(list(personal.values())), strict=True):
            outcomes[place] = outcome
    prepared = Prepared()
    for item, outcome in zip(chunk, outcomes, strict=True):
        if isinstance(outcome, Refusal):
            prepared.refused.append((item, outcome))
        else:
            assert isinstance(item, NewEvent)
            prepared.staged.append(Staged(item, _fields(item, outcome), outcome))
    return prepared


def read_personal(
    event: NewEvent, declared: PersonalFields, latest: datetime | None = None, catalog: Catalog = BUILT_IN
) -> PersonalEvent:
    """Read and validate an event of a type with personal fields, before they are sealed."""
    try:
        sent = declared.read(event.data)
        reason = refusal(event, json_text(event.data if sent is None else sent), latest, catalog)
    except ValueError as error:
        sent, reason = None, Refusal("invalid", str(error))
    if sent is None:
        reason = reason or Refusal("invalid", "data: a JSON object is needed")
        return PersonalEvent(event, None, {}, {}, reason)
    return PersonalEvent(event, declared.subject(sent), sent, declared.values(sent), reason)


def append_prepared(
    pool: ConnectionPool, vault: Vault, tenant_id: str, prepared: Prepared, *, look_up: bool = True
) -> BatchResult:
    """Append one prepared chunk in one transaction and say what became of each of its events.

    Args:
        pool: runtime sessions.
        vault: what seals the bytes of what is refused.
        tenant_id: whose events they are.
        prepared: the chunk.
        look_up: look for the events in the log beforehand. Without it they are taken for new, a tenth less work; where
            one is not, the transaction begins again.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with pool.connection() as connection:
                connection.execute("select event_log.make_partitions()")
                connection.commit()
                with connection.transaction():
                    return _write(connection, vault, tenant_id, prepared, look_up=look_up or attempt > 1)
        except (errors.UniqueViolation, errors.DeadlockDetected):
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


def _write(connection: Connection, vault: Vault, tenant_id: str, prepared: Prepared, *, look_up: bool) -> BatchResult:
    staged = prepared.staged
    fresh: list[NewEvent] = []
    conflicts: list[NewEvent] = []
    with connection.cursor() as cursor:
        if staged:
            fresh, conflicts = write(cursor, tenant_id, staged, look_up=look_up)
        quarantined = [*prepared.refused, *((event, TAKEN) for event in conflicts)]
        if quarantined:
            rows = [_quarantine_row(tenant_id, *item) for item in quarantined]
            contents = vault.lock_refused(connection, tenant_id, [content for _, content, _ in rows])
            cursor.executemany(
                _QUARANTINE,
                [[*texts, content, digest] for (texts, _, digest), content in zip(rows, contents, strict=True)],
            )
    erased = sum(reason.kind == "erased" for _, reason in prepared.refused)
    return BatchResult(len(fresh), len(staged) - len(fresh) - len(conflicts), len(quarantined), erased)


def write(
    cursor: Cursor, tenant_id: str, staged: list[Staged], *, look_up: bool = True
) -> tuple[list[NewEvent], list[NewEvent]]:
    """Append those of the prepared events that are new; return them, and those in conflict. The others are duplicates.

    Raises:
        errors.UniqueViolation: another writer was first with one of the identities, or, without `look_up`, the log has
            one.
    """
    fresh, repeated = _split(cursor, tenant_id, staged, look_up=look_up)
    if fresh:
        _insert(cursor, tenant_id, fresh)
    return [item.event for item in fresh], _conflicts(cursor, tenant_id, repeated) if repeated else []


def _split(cursor: Cursor, tenant_id: str, staged: list[Staged], *, look_up: bool) -> tuple[list[Staged], list[Staged]]:
    """Tell the events whose identity comes for the first time from the others."""
    sources, event_ids = [item.event.source for item in staged], [item.event.event_id for item in staged]
    seen: set[tuple[str, str]] = set()
    if look_up:
        seen.update(cursor.execute(_FIND_KNOWN, [sources, event_ids, tenant_id]).fetchall())
    fresh: list[Staged] = []
    repeated: list[Staged] = []
    for item, identity in zip(staged, zip(sources, event_ids, strict=True), strict=True):
        if identity in seen:
            repeated.append(item)
        else:
            seen.add(identity)
            fresh.append(item)
    return fresh, repeated


def _insert(cursor: Cursor, tenant_id: str, fresh: list[Staged]) -> None:
    """Number events within their streams and write them straight into the log: staging them first took as long again.

    Raises:
        errors.UniqueViolation: another writer was first with one of the identities.
    """
    counts = Counter(item.event.stream_id for item in fresh)
    heads = cursor.execute(_MOVE_HEADS, [tenant_id, list(counts), list(counts.values())]).fetchall()
    versions: dict[str, int] = {stream_id: version - counts[stream_id] for stream_id, version in heads}
    before = cursor.execute(_NEWEST_POSITION).fetchone()
    assert before is not None
    with cursor.copy(_COPY) as copy:
        for start in range(0, len(fresh), COPY_LINES):
            lines: list[str] = []
            for item in fresh[start : start + COPY_LINES]:
                stream_id = item.event.stream_id
                versions[stream_id] = version = versions[stream_id] + 1
                lines.append(f"{tenant_id}\t{version}\t{item.text}\n")
            copy.write("".join(lines))
    # Never prepared: a plan for any position would read the whole table.
    claimed = cursor.execute(_CLAIM_IDENTITIES, before, prepare=False).rowcount
    if claimed != len(fresh):
        raise AssertionError(f"{claimed} of {len(fresh)} events have got their identity written down")


def _conflicts(cursor: Cursor, tenant_id: str, repeated: list[Staged]) -> list[NewEvent]:
    """Return those whose identity the log has with other content."""
    events = [item.event for item in repeated]
    arguments: dict[str, object] = {
        "tenant_id": tenant_id,
        "ordinals": list(range(len(events))),
        "sources": [event.source for event in events],
        "event_ids": [event.event_id for event in events],
        "types": [event.event_type for event in events],
        "streams": [event.stream_id for event in events],
        "schema_versions": [event.schema_version for event in events],
        "sequences": [event.sequence for event in events],
        "moments": [event.occurred_at for event in events],
        "data": [item.data for item in repeated],
    }
    return [events[ordinal] for (ordinal,) in cursor.execute(_FIND_CONFLICTS, arguments).fetchall()]


def _fields(event: NewEvent, data: str) -> str:
    """Write a row in COPY's text format; by hand, as it is twice as fast as the driver's `write_row`."""
    return (
        f"{_text(event.source)}\t{_text(event.event_id)}\t{_text(event.stream_id)}\t{event.event_type}\t"
        f"{event.schema_version}\t{event.sequence}\t{_moment(event.occurred_at)}\t{_text(event.correlation_id)}\t"
        f"{_text(event.causation_id)}\t{_text(data)}"
    )


def _moment(moment: datetime) -> str:
    """Write a moment; `isoformat` takes three times as long, and is needed for subclasses and offsets with seconds."""
    is_plain = type(moment) is datetime and moment.tzinfo is UTC
    return orjson.dumps(moment).decode()[1:-1] if is_plain else moment.isoformat()


def _text(value: str | None) -> str:
    if value is None:
        return r"\N"
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\t" in value or "\n" in value or "\r" in value:
        value = value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value


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
