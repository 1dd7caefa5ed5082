"""What was ingested before, by the digest of its content.

Defines `append_once`. The log itself refuses a second copy of an event; this saves reading a whole source to
learn that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_pipelines.event_log import BatchResult, EventStore, Malformed, NewEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg_pool import ConnectionPool


def append_once(
    pool: ConnectionPool, tenant_id: str, digest: str, name: str, events: Iterable[NewEvent | Malformed]
) -> BatchResult:
    """Append the events of a source, and remember the source by its digest.

    A source that was ingested to its end before is not read: all its accepted events count as duplicates.
    """
    known = remembered(pool, tenant_id, digest)
    if known is not None:
        return BatchResult(0, known.accepted + known.duplicates, known.quarantined)
    result = EventStore(pool).append_batch(tenant_id, events)
    with pool.connection() as connection:
        connection.execute(
            "insert into event_log.files (tenant_id, digest, name, accepted, duplicates, quarantined) "
            "values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            [tenant_id, digest, name, result.accepted, result.duplicates, result.quarantined],
        )
    return result


def remembered(pool: ConnectionPool, tenant_id: str, digest: str) -> BatchResult | None:
    """Return what became of a source that was ingested to its end, or None."""
    with pool.connection() as connection:
        row = connection.execute(
            "select accepted, duplicates, quarantined from event_log.files where tenant_id = %s and digest = %s",
            [tenant_id, digest],
        ).fetchone()
    return None if row is None else BatchResult(*row)
