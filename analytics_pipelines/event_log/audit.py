"""Whether the log is still what it was when it was written.

Defines the checks of `pipelines verify`: closed ranges against their digests, the chain, the heads kept outside,
identities, streams, the quarantine and erasures. Every check reads in batches, however long the log is, and changes
nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import digests, erasure, partitions
from analytics_pipelines.event_log.quarantine import quarantined_bytes
from analytics_pipelines.event_log.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.digests import Range

    Show = Callable[[str, int, int], None]

BATCH_POSITIONS = 100_000
BATCH_STREAMS = 10_000
BATCH_QUARANTINED = 50
EXAMPLES = 5

_IDENTITIES = """
    select
        count(*),
        min(e.position) filter (where i.position is distinct from e.position),
        min(e.position) filter (where s.version is null or s.version < e.stream_version)
    from event_log.events as e
    left join event_log.event_ids as i
        on i.tenant_id = e.tenant_id and i.source = e.source and i.event_id = e.event_id
    left join event_log.streams as s on s.tenant_id = e.tenant_id and s.stream_id = e.stream_id
    where e.position >= %(start)s and e.position <= %(end)s
        and (%(tenant_id)s::text is null or e.tenant_id = %(tenant_id)s)
"""

_IDENTITY_COUNTS = """
    select
        count(*) filter (where position >= %(start)s),
        count(*) filter (where position < %(start)s),
        count(*) filter (where position < %(start)s and content_hash is null)
    from event_log.event_ids
    where position <= %(end)s and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
"""

# What is left of a stream whose beginning was detached still ends at its version and has no gap.
_STREAMS = """
    select s.tenant_id, s.stream_id, coalesce(
        e.events = e.newest - e.oldest + 1 and e.different = e.events and e.newest = s.version
            and (e.oldest = 1 or %(detached)s),
        %(detached)s)
    from (
        select tenant_id, stream_id, version from event_log.streams
        where (tenant_id, stream_id) > (%(after_tenant)s, %(after_stream)s)
            and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
        order by tenant_id, stream_id limit %(limit)s
    ) as s
    cross join lateral (
        select count(*) as events, min(stream_version) as oldest, max(stream_version) as newest,
            count(distinct stream_version) as different
        from event_log.events where tenant_id = s.tenant_id and stream_id = s.stream_id
    ) as e
    order by s.tenant_id, s.stream_id
"""

_QUARANTINE = """
    select tenant_id, quarantine_id, digest, bytes, is_sealed from event_log.quarantine
    where quarantine_id > %(after)s and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
        and octet_length(bytes) > 0 -- an erasure leaves none
    order by quarantine_id limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: its name, whether all is well, and one line that says what was looked at or is wrong."""

    check: str
    passed: bool
    detail: str


def _show_nothing(_check: str, _done: int, _total: int) -> None:
    """Show no progress."""


def verify(
    pool: ConnectionPool, home: Path, archive: Path, *, tenant_id: str | None = None, show: Show = _show_nothing
) -> Iterator[Finding]:
    """Yield what each check of the log finds. Nothing is written but the settled position.

    Args:
        pool: runtime sessions.
        home: the state folder, where the heads and the record of erasures are kept.
        archive: the folder of exported partitions.
        tenant_id: look at the identities, streams and quarantine of one tenant; digests are of all tenants together.
        show: told of progress: the check, how much is done, how much there is.
    """
    with pool.connection() as connection:
        row = connection.execute("select event_log.settle()").fetchone()
    assert row is not None
    (settled,) = row
    with pool.connection() as connection:
        closed = list(digests.ranges(connection))
        detached = [one for one in partitions.listing(connection) if one.detached_at is not None]
    start = max((one.end_position for one in detached), default=0)
    yield _ranges(pool, [one for one in closed if one.first_position >= start], settled, show)
    yield _chain(closed)
    yield _heads(pool, closed, digests.heads_file(home))
    if detached:
        yield _archive(closed, detached, archive)
    gone = sum(one.events for one in closed if one.last_position < start)
    yield _identities(pool, {"start": start, "end": settled, "tenant_id": tenant_id}, gone, show)
    yield _streams(pool, tenant_id, detached=bool(detached))
    yield _quarantine(pool, tenant_id)
    yield _erasures(pool, erasure.record_file(home))


def _ranges(pool: ConnectionPool, closed: list[Range], settled: int, show: Show) -> Finding:
    wrong: list[str] = []
    for number, one in enumerate(closed, 1):
        with pool.connection() as connection:
            row = connection.execute(
                "select events, digest from event_log.range_digest(%s, %s)", [one.first_position, one.last_position]
            ).fetchone()
        assert row is not None
        if row != (one.events, one.digest):
            wrong.append(_difference(one, row[0]))
        show("ranges", number, len(closed))
    if wrong:
        return Finding("ranges", passed=False, detail=f"{len(wrong)} of {len(closed)} ranges differ: {_some(wrong)}")
    end = closed[-1].last_position if closed else 0
    events = sum(one.events for one in closed)
    rest = f"; what came after {end} is not closed yet" if settled > end else ""
    return Finding("ranges", passed=True, detail=f"{events:,} events in {len(closed)} ranges up to {end}{rest}")


def _difference(one: Range, found: int) -> str:
    where = f"positions {one.first_position} to {one.last_position}"
    if found < one.events:
        return f"{where}: {one.events - found} of {one.events} events were removed"
    if found > one.events:
        return f"{where}: {found - one.events} events were inserted beside {one.events}"
    return f"{where}: an event was changed, or as many inserted as removed"


def _chain(closed: list[Range]) -> Finding:
    before, end = b"", -1
    for one in closed:
        where = f"positions {one.first_position} to {one.last_position}"
        if one.first_position != end + 1:
            return Finding("chain", passed=False, detail=f"{where}: the range before it, from {end + 1} on, is missing")
        if digests.chained(before, one) != one.chain:
            return Finding("chain", passed=False, detail=f"{where}: its head does not follow from the range before it")
        before, end = one.chain, one.last_position
    return Finding("chain", passed=True, detail=f"{len(closed)} ranges, head {before.hex()[:16] or 'none'}")


def _heads(pool: ConnectionPool, closed: list[Range], path: Path) -> Finding:
    with pool.connection() as connection:
        kept = digests.kept_heads(path, connection.info.dbname)
    if closed and not kept:
        reason = f"{path} holds no head of this database; run this where event_log/events is built, or bring the file"
        return Finding("heads", passed=False, detail=reason)
    stored = {one.last_position: one for one in closed}
    for last_position, chain in sorted(kept.items()):
        one = stored.get(last_position)
        if one is None:
            reason = f"the range that ends at {last_position} stands in {path} and no longer in event_log.digests"
            return Finding("heads", passed=False, detail=reason)
        if one.chain.hex() != chain:
            where = f"positions {one.first_position} to {one.last_position}"
            return Finding(
                "heads", passed=False, detail=f"{where}: event_log.digests was rewritten; {path} has another"
            )
    newer = sum(one.last_position > max(kept) for one in closed) if kept else 0
    return Finding("heads", passed=True, detail=f"{len(kept)} heads in {path}" + (f", {newer} newer" if newer else ""))


def _archive(closed: list[Range], detached: list[partitions.Partition], folder: Path) -> Finding:
    told: list[str] = []
    wrong: list[str] = []
    for one in detached:
        path = partitions.export_file(folder, one)
        if not path.exists():
            told.append(f"{one.table_name}: {path} is not at hand, not verified")
            continue
        inside = [each for each in closed if one.first_position <= each.first_position < one.end_position]
        try:
            found = partitions.read_export(path, inside)
        except PipelinesError as error:
            wrong.append(str(error))
            continue
        if found.file_digest != one.export_digest or found.differs is not None:
            where = found.differs and f" between {found.differs.first_position} and {found.differs.last_position}"
            wrong.append(f"{one.table_name}: {path} is not the file that was verified{where or ''}")
        else:
            told.append(f"{one.table_name}: {found.events:,} events")
    return Finding("archive", passed=not wrong, detail=_some(wrong or told))


def _identities(pool: ConnectionPool, bounds: dict[str, Any], gone: int, show: Show) -> Finding:
    events = 0
    start, end = bounds["start"], bounds["end"]
    for first in range(start, end + 1, BATCH_POSITIONS):
        batch = {**bounds, "start": first, "end": min(first + BATCH_POSITIONS - 1, end)}
        with pool.connection() as connection:
            row = connection.execute(_IDENTITIES, batch).fetchone()
        assert row is not None
        count, unknown, headless = row
        if unknown is not None:
            return Finding("identities", passed=False, detail=f"position {unknown}: event_log.event_ids says otherwise")
        if headless is not None:
            return Finding("identities", passed=False, detail=f"position {headless}: beyond its stream's version")
        events += count
        show("identities", batch["end"] - start + 1, end - start + 1)
    with pool.connection() as connection:
        row = connection.execute(_IDENTITY_COUNTS, bounds).fetchone()
    assert row is not None
    present, departed, forgotten = row
    wrong = [
        text
        for text, is_wrong in (
            (f"{present - events} identities have no event", present != events),
            (f"{departed} identities of {gone} detached events", bounds["tenant_id"] is None and departed != gone),
            (f"{forgotten} detached events without their content's hash", forgotten > 0),
        )
        if is_wrong
    ]
    detail = "; ".join(wrong) or f"{events:,} events with one identity each, {departed:,} of detached events"
    return Finding("identities", passed=not wrong, detail=detail)


def _streams(pool: ConnectionPool, tenant_id: str | None, *, detached: bool) -> Finding:
    streams = 0
    wrong: list[str] = []
    arguments: dict[str, Any] = {
        "tenant_id": tenant_id,
        "detached": detached,
        "limit": BATCH_STREAMS,
        "after_tenant": "",
        "after_stream": "",
    }
    while True:
        with pool.connection() as connection:
            rows = connection.execute(_STREAMS, arguments).fetchall()
        streams += len(rows)
        wrong += [f"{tenant}/{stream}" for tenant, stream, gapless in rows if not gapless]
        if len(rows) < BATCH_STREAMS:
            break
        arguments |= {"after_tenant": rows[-1][0], "after_stream": rows[-1][1]}
    if wrong:
        return Finding("streams", passed=False, detail=f"versions are not 1, 2, 3, ... to the newest: {_some(wrong)}")
    return Finding("streams", passed=True, detail=f"{streams:,} streams without a gap")


def _quarantine(pool: ConnectionPool, tenant_id: str | None) -> Finding:
    wrong: list[str] = []
    count = after = passed_over = 0
    vault = Vault()
    with pool.connection() as connection:
        while rows := _quarantined(connection, tenant_id, after):
            readable = [row for row in rows if not row["is_sealed"] or vault.keys is not None]
            wrong += [
                f"{row['tenant_id']} {row['quarantine_id']}"
                for row in readable
                if not _is_as_refused(connection, vault, row)
            ]
            count, after = count + len(readable), rows[-1]["quarantine_id"]
            passed_over += len(rows) - len(readable)
    if wrong:
        return Finding("quarantine", passed=False, detail=f"bytes differ from their digest: {_some(wrong)}")
    sealed = f"; {passed_over:,} cannot be read without the master key" if passed_over else ""
    return Finding("quarantine", passed=True, detail=f"{count:,} entries with the bytes that were refused{sealed}")


def _is_as_refused(connection: Connection, vault: Vault, row: dict[str, Any]) -> bool:
    try:
        return hashlib.sha256(quarantined_bytes(connection, vault, row)).digest() == row["digest"]
    except PipelinesError:  # sealed bytes that were changed do not open
        return False


def _quarantined(connection: Connection, tenant_id: str | None, after: int) -> list[dict[str, Any]]:
    arguments = {"tenant_id": tenant_id, "after": after, "limit": BATCH_QUARANTINED}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_QUARANTINE, arguments).fetchall()


def _erasures(pool: ConnectionPool, path: Path) -> Finding:
    with pool.connection() as connection:
        missing = erasure.not_in_force(connection, path)
    if missing:
        named = _some([f"{one.erasure_id} of {one.tenant_id}" for one in missing])
        reason = f"this database does not know of {named}; run `pipelines erase --repeat`"
        return Finding("erasures", passed=False, detail=reason)
    recorded = sum(1 for _ in erasure.recorded(path))
    return Finding("erasures", passed=True, detail=f"{recorded:,} erasures are in force")


def _some(texts: list[str]) -> str:
    more = f"; and {len(texts) - EXAMPLES} more" if len(texts) > EXAMPLES else ""
    return "; ".join(texts[:EXAMPLES]) + more
