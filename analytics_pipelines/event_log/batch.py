"""Bulk appending: COPY into a staging table, then set-based SQL.

Defines how one chunk of events enters the log in one transaction: validate, stage, tell fresh events from known ones,
number them within their streams, insert, and quarantine what is refused. `EventStore.append_batch` drives it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from psycopg import errors

from analytics_pipelines.event_log.event import BatchResult, Malformed, NewEvent
from analytics_pipelines.event_log.validation import Refusal, json_text, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection, Cursor
    from psycopg_pool import ConnectionPool

CHUNK_EVENTS = 20_000
CHUNK_CHARACTERS = 32_000_000
ATTEMPTS = 5
COPY_LINES = 1_000

_STAGE = """
    create temporary table if not exists staged (
        ordinal integer, source text, event_id text, stream_id text, event_type text, schema_version smallint,
        sequence bigint, occurred_at timestamptz, correlation_id text, causation_id text, data jsonb
    ) on commit delete rows;
    create temporary table if not exists fresh (ordinal integer) on commit delete rows;
"""

# An identity is fresh the first time it comes, unless the log has it.
_FIND_FRESH = """
    insert into fresh
    select staged.ordinal
    from (select distinct on (source, event_id) ordinal, source, event_id
          from staged order by source, event_id, ordinal) as staged
    where not exists (
        select from event_log.events
        where tenant_id = %s and source = staged.source and event_id = staged.event_id
    )
"""

# Stream heads are locked in sorted order, so that two writers never wait for each other in a circle.
_INSERT = """
    with counted as (
        select stream_id, count(*) as events
        from staged join fresh using (ordinal) group by stream_id
    ),
    heads as (
        insert into event_log.streams as head (tenant_id, stream_id, version)
        select %(tenant_id)s, stream_id, events from counted order by stream_id collate "C"
        on conflict (tenant_id, stream_id) do update set version = head.version + excluded.version
        returning stream_id, version
    ),
    numbered as (
        select
            staged.*,
            heads.version - counted.events
                + row_number() over (partition by staged.stream_id order by staged.ordinal) as stream_version
        from staged join fresh using (ordinal) join counted using (stream_id) join heads using (stream_id)
    ),
    inserted as (
        insert into event_log.events (
            tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at,
            correlation_id, causation_id, data
        )
        select
            %(tenant_id)s, source, event_id, stream_id, stream_version, event_type, schema_version, sequence,
            occurred_at, correlation_id, causation_id, data
        from numbered order by ordinal
        on conflict on constraint events_identity do nothing
        returning 1
    )
    select (select count(*) from inserted), (select count(*) from fresh)
"""

_FIND_CONFLICTS = """
    select staged.ordinal
    from staged
    join event_log.events as stored
        on stored.tenant_id = %s and stored.source = staged.source and stored.event_id = staged.event_id
    where (stored.event_type, stored.stream_id, stored.schema_version, stored.sequence, stored.occurred_at, stored.data)
        is distinct from
        (staged.event_type, staged.stream_id, staged.schema_version, staged.sequence, staged.occurred_at, staged.data)
"""

_QUARANTINE = """
    insert into event_log.quarantine (tenant_id, kind, reason, source, event_id, origin, bytes, digest)
    values (%s, %s, %s, %s, %s, %s, %s, %s)
    on conflict (tenant_id, digest, kind) do nothing
"""

# What Postgres says of a value that JSON allows and it cannot hold: refused rows, not a failed batch.
_REFUSED_BY_POSTGRES = (errors.DataError, errors.ProgramLimitExceeded, errors.StatementTooComplex)


class _LostRaceError(Exception):
    """Another writer inserted the same identity in the meantime; begin again and see it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk ready to be written: valid events with their COPY fields, and what was refused with the reason."""

    staged: list[tuple[NewEvent, str]] = field(default_factory=list)
    refused: list[tuple[NewEvent | Malformed, Refusal]] = field(default_factory=list)


def chunks(events: Iterable[NewEvent | Malformed]) -> Iterator[list[NewEvent | Malformed]]:
    """Cut a stream of events into chunks that fit a transaction and bounded memory."""
    chunk: list[NewEvent | Malformed] = []
    characters = 0
    for event in events:
        chunk.append(event)
        if isinstance(event, Malformed):
            characters += len(event.content)
        else:
            characters += len(event.raw or "") + (len(event.data) if isinstance(event.data, str) else 0)
        if len(chunk) >= CHUNK_EVENTS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def prepare(chunk: list[NewEvent | Malformed]) -> Prepared:
    """Validate one chunk and write its rows as COPY wants them. No database is touched."""
    prepared = Prepared()
    for item in chunk:
        if isinstance(item, Malformed):
            prepared.refused.append((item, Refusal("malformed", item.reason)))
            continue
        try:
            data = json_text(item.data)
        except ValueError as error:
            prepared.refused.append((item, Refusal("invalid", str(error))))
            continue
        reason = refusal(item, data)
        if reason is None:
            prepared.staged.append((item, _fields(item, data)))
        else:
            prepared.refused.append((item, reason))
    return prepared


def append_prepared(pool: ConnectionPool, tenant_id: str, prepared: Prepared) -> BatchResult:
    """Append one prepared chunk in one transaction and say what became of each of its events."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with pool.connection() as connection, connection.transaction():
                return _write(connection, tenant_id, prepared)
        except (_LostRaceError, errors.DeadlockDetected):
            if attempt == ATTEMPTS:
                raise
        except _REFUSED_BY_POSTGRES as error:
            staged, refused = prepared.staged, prepared.refused
            if not staged:
                raise
            if len(staged) == 1:
                reason = Refusal("invalid", f"data: {str(error).splitlines()[0]}")
                return append_prepared(pool, tenant_id, Prepared([], [*refused, (staged[0][0], reason)]))
            # Some event of the chunk cannot be stored: halve until it stands alone.
            half = len(staged) // 2
            first = append_prepared(pool, tenant_id, Prepared(staged[:half], refused))
            return first + append_prepared(pool, tenant_id, Prepared(staged[half:]))
    raise AssertionError


def _write(connection: Connection, tenant_id: str, prepared: Prepared) -> BatchResult:
    staged = prepared.staged
    accepted = 0
    conflicts: list[tuple[NewEvent | Malformed, Refusal]] = []
    with connection.cursor() as cursor:
        if staged:
            _stage(cursor, staged)
            cursor.execute(_FIND_FRESH, [tenant_id])
            # Not the payloads: sampling them took a tenth of the whole append.
            cursor.execute("analyze staged (source, event_id, stream_id), fresh")
            accepted, fresh = cursor.execute(_INSERT, {"tenant_id": tenant_id}).fetchone() or (0, 0)
            if accepted != fresh:
                raise _LostRaceError
            if accepted < len(staged):
                reason = Refusal("conflict", "id: the log has this source and id with other content")
                rows = cursor.execute(_FIND_CONFLICTS, [tenant_id]).fetchall()
                conflicts = [(staged[ordinal][0], reason) for (ordinal,) in rows]
        quarantined = [*prepared.refused, *conflicts]
        if quarantined:
            cursor.executemany(_QUARANTINE, [_quarantine_row(tenant_id, *item) for item in quarantined])
    return BatchResult(accepted, len(staged) - accepted - len(conflicts), len(quarantined))


def _stage(cursor: Cursor, staged: list[tuple[NewEvent, str]]) -> None:
    cursor.execute(_STAGE)
    with cursor.copy("copy staged from stdin") as copy:
        for start in range(0, len(staged), COPY_LINES):
            lines = enumerate(staged[start : start + COPY_LINES], start)
            copy.write("".join(f"{ordinal}\t{fields}\n" for ordinal, (_, fields) in lines))


def _fields(event: NewEvent, data: str) -> str:
    """Write a row in COPY's text format; by hand, as it is twice as fast as the driver's `write_row`."""
    return (
        f"{_text(event.source)}\t{_text(event.event_id)}\t{_text(event.stream_id)}\t{event.event_type}\t"
        f"{event.schema_version}\t{event.sequence}\t{event.occurred_at.isoformat()}\t{_text(event.correlation_id)}\t"
        f"{_text(event.causation_id)}\t{_text(data)}"
    )


def _text(value: str | None) -> str:
    if value is None:
        return r"\N"
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\t" in value or "\n" in value or "\r" in value:
        value = value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value


def _quarantine_row(tenant_id: str, item: NewEvent | Malformed, reason: Refusal) -> list[object]:
    if isinstance(item, Malformed):
        source, event_id, origin, content = None, None, item.origin, item.content
    else:
        source, event_id, origin = item.source, item.event_id, item.origin or item.source
        content = _content(item) if item.raw is None else item.raw
    texts = [None if text is None else _readable(text) for text in (reason.reason, source, event_id, origin)]
    return [tenant_id, reason.kind, *texts, content, hashlib.sha256(content).digest()]


def _content(event: NewEvent) -> bytes:
    """Write down an event that was refused, whatever is in it: as JSON where that is possible."""
    sent = {name.name: getattr(event, name.name) for name in fields(event)}
    try:
        return json.dumps(sent, default=str).encode("ascii")
    except (RecursionError, TypeError, ValueError):
        return repr(sent).encode("utf-8", "backslashreplace")


def _readable(text: str) -> str:
    """Replace what a text column cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")
