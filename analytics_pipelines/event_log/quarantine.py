"""What the log refused: listed, shown, and put through again after a fix.

Defines the reader of kept bytes and `redrive()`. How events get into the quarantine stands in `writing.py`, why in
`validation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row
from pydantic import TypeAdapter, ValidationError

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.batch import Prepared, Staged, prepare
from analytics_pipelines.event_log.catalog import Catalog, configured_catalog
from analytics_pipelines.event_log.cloud_events import exact_json, parse_event
from analytics_pipelines.event_log.event import BatchResult, Malformed, NewEvent
from analytics_pipelines.event_log.validation import Refusal
from analytics_pipelines.event_log.vault import PersonalEvent, Vault
from analytics_pipelines.event_log.writing import ATTEMPTS, REFUSED_BY_POSTGRES, TAKEN, readable, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

CHUNK_EVENTS = 1_000
CHUNK_BYTES = 16_000_000
MOST_GROUPS = 50
_FROM_FIELDS = TypeAdapter(NewEvent)
_KEPT_FIELDS = {kept.name for kept in fields(NewEvent)}

_ENTRY = """
    tenant_id, quarantine_id, kind, reason, source, event_id, origin, octet_length(bytes) as size, is_sealed,
    quarantined_at, redriven_at, outcome
"""

_LIST = f"""
    select {_ENTRY} from event_log.quarantine
    where (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
        and (%(kind)s::text is null or kind = %(kind)s)
    order by quarantine_id desc
    limit %(limit)s
"""  # noqa: S608 - made of constants

# Reasons that differ in a number only, such as a column, are one group; a type's version is not such a number.
_COUNTS = """
    select kind,
        case when kind = 'unknown_type' then reason else regexp_replace(reason, '\\d+', '#', 'g') end as reason,
        count(*) filter (where outcome is null or outcome = 'quarantined') as waiting, count(*) as events
    from event_log.quarantine
    where (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
        and (%(kind)s::text is null or kind = %(kind)s)
    group by 1, 2
    order by waiting desc, events desc, kind, reason
    limit %(limit)s
"""

_SHOW = f"select {_ENTRY}, bytes from event_log.quarantine where tenant_id = %s and quarantine_id = %s"  # noqa: S608

# A page is so many entries, or fewer of many bytes: one may have megabytes.
_WAITING = """
    select tenant_id, quarantine_id, kind, reason, origin, bytes, is_sealed
    from (
        select *, sum(octet_length(bytes)) over (order by quarantine_id) - octet_length(bytes) as before
        from (
            select * from event_log.quarantine
            where tenant_id = %(tenant_id)s and quarantine_id > %(after)s
                and (outcome is null or outcome = 'quarantined') and kind not in ('conflict', 'erased')
                and octet_length(bytes) > 0
                and (%(kind)s::text is null or kind = %(kind)s)
            order by quarantine_id limit %(limit)s
        ) as next
    ) as page
    where before < %(bytes)s
    order by quarantine_id
"""

_ASKED = """
    select tenant_id, quarantine_id, kind, reason, origin, bytes, is_sealed from event_log.quarantine
    where tenant_id = %(tenant_id)s and quarantine_id = %(id)s and (%(kind)s::text is null or kind = %(kind)s)
"""

# Where it was read is a file's name, and a place in it after a colon.
_UNSETTLED = """
    select quarantine_id from event_log.quarantine
    where tenant_id = %(tenant_id)s and quarantine_id > %(after)s and (outcome is null or outcome = 'quarantined')
        and (%(kind)s::text is null or kind = %(kind)s)
        and (%(origin)s::text is null or origin = %(origin)s or starts_with(origin, %(origin)s || ':'))
        and (%(ids)s::bigint[] is null or quarantine_id = any(%(ids)s))
    order by quarantine_id limit %(limit)s
"""

_TENANTS = """
    select distinct tenant_id from event_log.quarantine
    where (outcome is null or outcome = 'quarantined') and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)
    order by tenant_id
"""


@dataclass(frozen=True, slots=True)
class _Redriven:
    """What became of one entry; the refusal is given when it was quarantined again."""

    quarantine_id: int
    outcome: str
    refusal: Refusal | None = None


_Waiting = tuple[int, Staged]


def quarantined_bytes(connection: Connection, vault: Vault, row: Mapping[str, Any]) -> bytes:
    """Return the bytes of a refused event as they were sent; every reader of them comes through here.

    None are left of an event about a person who was erased.

    Raises:
        PipelinesError: they are sealed and there is no master key, or not the right one.
    """
    content = bytes(row["bytes"])
    return vault.unlock_refused(connection, row["tenant_id"], [content])[0] if row["is_sealed"] else content


def event_of(content: bytes, origin: str) -> NewEvent | Malformed:
    """Turn kept bytes back into the event: a CloudEvent as it was sent, or the fields of one given in Python."""
    try:
        sent = exact_json(content)
        if isinstance(sent, dict) and sent.keys() == _KEPT_FIELDS:
            return replace(_FROM_FIELDS.validate_python(sent), origin=origin, raw=content)
    except ValidationError as error:  # its own words would quote what was sent
        first = error.errors(include_url=False, include_input=False)[0]
        return Malformed(content, f"{'.'.join(map(str, first['loc']))}: {first['msg']}", origin)
    except ValueError as error:
        return Malformed(content, str(error), origin)
    return parse_event(content, origin)


def listing(
    connection: Connection, *, tenant_id: str | None = None, kind: str | None = None, limit: int = 50
) -> dict[str, list[dict[str, Any]]]:
    """Return the newest entries, the newest first, and the counts of all of them by kind and group of reasons."""
    arguments: dict[str, Any] = {"tenant_id": tenant_id, "kind": kind, "limit": limit}
    with connection.cursor(row_factory=dict_row) as cursor:
        entries = cursor.execute(_LIST, arguments).fetchall()
        counts = cursor.execute(_COUNTS, {**arguments, "limit": MOST_GROUPS}).fetchall()
    return {"counts": counts, "entries": entries}


def entry(connection: Connection, tenant_id: str, quarantine_id: int, vault: Vault | None = None) -> dict[str, Any]:
    """Return one entry, its `bytes` as they were sent.

    Raises:
        PipelinesError: the tenant has no such entry.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SHOW, [tenant_id, quarantine_id]).fetchone()
    if row is None:
        raise PipelinesError(f"{tenant_id} has no quarantined event {quarantine_id}; see `pipelines quarantine list`")
    return {**row, "bytes": quarantined_bytes(connection, vault or Vault(), row)}


def redrive(  # noqa: PLR0913 - what is chosen, and with what, by keyword
    pool: ConnectionPool,
    *,
    tenant_id: str | None = None,
    kind: str | None = None,
    ids: Sequence[int] = (),
    catalog: Catalog | None = None,
    vault: Vault | None = None,
) -> BatchResult:
    """Put quarantined events through again, in the order in which they came, and say what became of them.

    Entries that were let in before are passed over, and so are conflicts, unless they are asked for by id. What
    becomes of an entry is written down with it in the transaction that appends it; the entry stays.

    Args:
        pool: runtime sessions.
        tenant_id: whose events; needed with `ids`.
        kind: only those of one kind.
        ids: only these.
        catalog: the event types that may be appended; that of the settings unless given.
        vault: what seals and unseals personal data; one with the master keys of the settings unless given.

    Raises:
        PipelinesError: an id is not one of the tenant's.
    """
    result = BatchResult()
    gate = _Gate(pool, catalog or configured_catalog(), vault or Vault())
    with pool.connection() as connection:
        tenants = [row[0] for row in connection.execute(_TENANTS, {"tenant_id": tenant_id}).fetchall()]
    if ids:
        if tenant_id is None:
            raise PipelinesError("an id belongs to a tenant; give --tenant too")
        tenants = [tenant_id]
    for tenant in tenants:
        pages = _asked(pool, tenant, kind, ids) if ids else _pages(pool, tenant, kind)
        for rows in pages:
            for one in _redrive_page(gate, tenant, rows):
                result += BatchResult(
                    int(one.outcome == "accepted"), int(one.outcome == "duplicate"), int(one.refusal is not None)
                )
    return result


def dismiss(
    pool: ConnectionPool,
    tenant_id: str,
    *,
    kind: str | None = None,
    origin: str | None = None,
    ids: Sequence[int] = (),
) -> int:
    """Write down that refused events will not be put through, and return of how many; their entries stay.

    A redrive passes them over, unless they are asked for by id. Those that were let in, and those dismissed before,
    stay what they are.

    Args:
        pool: runtime sessions.
        tenant_id: whose events.
        kind: only those of one kind.
        origin: only those from one place, `payments.csv:3`, or from all of a file, `payments.csv`.
        ids: only these.
    """
    chosen: dict[str, Any] = {"tenant_id": tenant_id, "kind": kind, "origin": origin, "ids": list(ids) or None}
    dismissed, after = 0, 0
    while True:
        with pool.connection() as connection:
            rows = connection.execute(_UNSETTLED, {**chosen, "after": after, "limit": CHUNK_EVENTS}).fetchall()
            if not rows:
                return dismissed
            _mark(connection, tenant_id, [_Redriven(quarantine_id, "dismissed") for (quarantine_id,) in rows])
        dismissed, after = dismissed + len(rows), rows[-1][0]


def _pages(pool: ConnectionPool, tenant_id: str, kind: str | None) -> Iterator[list[dict[str, Any]]]:
    arguments: dict[str, Any] = {"tenant_id": tenant_id, "kind": kind, "limit": CHUNK_EVENTS, "bytes": CHUNK_BYTES}
    after = 0
    while True:
        with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_WAITING, {**arguments, "after": after}).fetchall()
        if not rows:
            return
        yield rows
        after = rows[-1]["quarantine_id"]


def _asked(
    pool: ConnectionPool, tenant_id: str, kind: str | None, ids: Sequence[int]
) -> Iterator[list[dict[str, Any]]]:
    for quarantine_id in sorted(set(ids)):
        arguments = {"tenant_id": tenant_id, "kind": kind, "id": quarantine_id}
        with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_ASKED, arguments).fetchall()
        if not rows:
            of_kind = f" of kind {kind}" if kind else ""
            raise PipelinesError(
                f"{tenant_id} has no quarantined event {quarantine_id}{of_kind}; see `quarantine list`"
            )
        if not rows[0]["bytes"]:
            raise PipelinesError(f"of {quarantine_id} nothing is left to put through: its person was erased")
        yield rows


@dataclass(frozen=True, slots=True)
class _Gate:
    """What events go through on their way into the log."""

    pool: ConnectionPool
    catalog: Catalog
    vault: Vault

    def prepare(self, tenant_id: str, row: Mapping[str, Any]) -> Prepared:
        def seal(events: Sequence[PersonalEvent]) -> list[str | Refusal]:
            with self.pool.connection() as connection, connection.transaction():
                return self.vault.seal(connection, tenant_id, events)

        with self.pool.connection() as connection:
            content = quarantined_bytes(connection, self.vault, row)
        return prepare([event_of(content, row["origin"])], seal, self.catalog)


def _redrive_page(gate: _Gate, tenant_id: str, rows: list[dict[str, Any]]) -> list[_Redriven]:
    """Put one page through: what is refused before the database is asked, then the rest."""
    refused: list[_Redriven] = []
    waiting: list[_Waiting] = []
    for row in rows:
        prepared = gate.prepare(tenant_id, row)
        for _, reason in prepared.refused:
            # A row of a table is no event: what its mapping found says more than that it is no JSON.
            is_the_same = reason.kind == row["kind"] == "malformed"
            kept = Refusal(row["kind"], row["reason"]) if is_the_same else reason
            refused.append(_Redriven(row["quarantine_id"], "quarantined", kept))
        waiting += [(row["quarantine_id"], item) for item in prepared.staged]
    return _append(gate.pool, tenant_id, waiting, refused)


def _append(pool: ConnectionPool, tenant_id: str, waiting: list[_Waiting], refused: list[_Redriven]) -> list[_Redriven]:
    """Append and mark in one transaction; what Postgres refuses is found by halving, as in `append_prepared`."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with pool.connection() as connection:
                connection.execute("select event_log.make_partitions()")
                connection.commit()
                with connection.transaction():
                    return _mark(connection, tenant_id, [*refused, *_write(connection, tenant_id, waiting)])
        except (errors.UniqueViolation, errors.DeadlockDetected):
            if attempt == ATTEMPTS:
                raise
        except REFUSED_BY_POSTGRES as error:
            if not waiting:
                raise
            if len(waiting) == 1:
                reason = Refusal("invalid", f"data: {str(error).splitlines()[0]}")
                return _append(pool, tenant_id, [], [*refused, _Redriven(waiting[0][0], "quarantined", reason)])
            half = len(waiting) // 2
            first = _append(pool, tenant_id, waiting[:half], refused)
            return first + _append(pool, tenant_id, waiting[half:], [])
    raise AssertionError


def _write(connection: Connection, tenant_id: str, waiting: list[_Waiting]) -> list[_Redriven]:
    if not waiting:
        return []
    with connection.cursor() as cursor:
        fresh, conflicts = write(cursor, tenant_id, [item for _, item in waiting])
    accepted, taken = {id(event) for event in fresh}, {id(event) for event in conflicts}
    return [
        _Redriven(number, "accepted")
        if id(item.event) in accepted
        else _Redriven(number, "quarantined", TAKEN)
        if id(item.event) in taken
        else _Redriven(number, "duplicate")
        for number, item in waiting
    ]


def _mark(connection: Connection, tenant_id: str, redriven: list[_Redriven]) -> list[_Redriven]:
    erased = [one.quarantine_id for one in redriven if one.refusal is not None and one.refusal.kind == "erased"]
    if erased:
        connection.execute("select vault.scrub_quarantine(%s, %s)", [tenant_id, erased])
    connection.execute(
        "select event_log.mark_redriven(%s, %s::bigint[], %s::text[], %s::text[], %s::text[])",
        [
            tenant_id,
            [one.quarantine_id for one in redriven],
            [one.outcome for one in redriven],
            [one.refusal and one.refusal.kind for one in redriven],
            [one.refusal and readable(one.refusal.reason) for one in redriven],
        ],
    )
    return redriven
