"""What was ingested before, by the digest of its content.

Defines `append_once`. The log itself refuses a second copy of an event; this saves reading a whole source to
learn that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult, EventStore, Malformed, NewEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg_pool import ConnectionPool


SHOWN_EVERY = 1_000


class LostEventError(PipelinesError):
    """Fewer or more events were accounted for than were sent."""


class PartlyReadError(PipelinesError):
    """A source could not be read to its end.

    Attributes:
        result: what became of the events that were read.
    """

    def __init__(self, reason: object, result: BatchResult) -> None:
        """Say why, and what of it came in all the same."""
        self.result = result
        counts = f"{result.accepted:,} accepted, {result.duplicates:,} duplicates, {result.quarantined:,} quarantined"
        super().__init__(f"{reason}; of what was read before: {counts}")


def append_once(  # noqa: PLR0913, PLR0917 - a source is known by name and digest
    pool: ConnectionPool,
    tenant_id: str,
    digest: str,
    name: str,
    events: Iterable[NewEvent | Malformed],
    show: Callable[[int], None] | None = None,
) -> BatchResult:
    """Append the events of a source, and remember the source by its digest.

    A source that was ingested to its end before is not read: all its accepted events count as duplicates. One that
    names an erased person is read each time, so that every copy of it is found to do so.

    Raises:
        LostEventError: accepted + duplicates + quarantined is not what was sent.
    """
    known = remembered(pool, tenant_id, digest)
    if known is not None:
        return BatchResult(0, known.accepted + known.duplicates, known.quarantined)
    result = append_counted(pool, tenant_id, events, name, show)
    if result.erased:
        return result
    with pool.connection() as connection:
        connection.execute(
            "insert into event_log.files (tenant_id, digest, name, accepted, duplicates, quarantined) "
            "values (%s, %s, %s, %s, %s, %s) on conflict do nothing",
            [tenant_id, digest, name, result.accepted, result.duplicates, result.quarantined],
        )
    return result


def append_counted(
    pool: ConnectionPool,
    tenant_id: str,
    events: Iterable[NewEvent | Malformed],
    name: str,
    show: Callable[[int], None] | None = None,
) -> BatchResult:
    """Append the events of a source, and make sure that every one of them is accounted for.

    Raises:
        LostEventError: accepted + duplicates + quarantined is not what was sent.
        PartlyReadError: the source could not be read to its end; what was read is appended, and counted with the error.
        PipelinesError: it could not be read at all.
    """
    sent = 0
    broken: PipelinesError | None = None

    def counted() -> Iterator[NewEvent | Malformed]:
        nonlocal sent, broken
        try:
            for event in events:
                sent += 1
                if show is not None and sent % SHOWN_EVERY == 0:
                    show(sent)
                yield event
        except PipelinesError as error:
            broken = error

    result = EventStore(pool).append_batch(tenant_id, counted())
    if result.sent != sent:
        raise LostEventError(
            f"{name}: {sent} events were sent and {result.sent} accounted for (accepted + duplicates + quarantined); "
            "send it again and report this"
        )
    if broken is not None and sent:
        raise PartlyReadError(broken, result) from broken
    if broken is not None:
        raise broken
    return result


def remembered(pool: ConnectionPool, tenant_id: str, digest: str) -> BatchResult | None:
    """Return what became of a source that was ingested to its end since the tenant's last erasure, or None."""
    with pool.connection() as connection:
        row = connection.execute(
            """
            select accepted, duplicates, quarantined from event_log.files as file
            where tenant_id = %s and digest = %s and not exists (
                select from vault.erasures
                where tenant_id = file.tenant_id and erased_at >= file.ingested_at)
            """,
            [tenant_id, digest],
        ).fetchone()
    return None if row is None else BatchResult(*row)


def was_ingested(pool: ConnectionPool, tenant_id: str, digest: str) -> bool:
    """Tell whether a source was ingested to its end, be it before an erasure."""
    with pool.connection() as connection:
        query = "select from event_log.files where tenant_id = %s and digest = %s"
        return connection.execute(query, [tenant_id, digest]).fetchone() is not None


def watermarks(pool: ConnectionPool, tenants: Iterable[str], after: int, up_to: int) -> dict[str, str | None]:
    """Return each tenant's newest event time (UTC, ISO 8601) at a position, given what was appended since another.

    The watermark of the newest pin before is taken as known; only what came after it is looked at.
    """
    with pool.connection() as connection:
        rows = connection.execute(
            """
            select tenant.tenant_id, greatest(
                (select w.watermark from progress.watermarks as w
                 where w.tenant_id = tenant.tenant_id and w.position <= %(up_to)s order by w.position desc limit 1),
                (select max(e.occurred_at) from event_log.events as e
                 where e.tenant_id = tenant.tenant_id and e.position > %(after)s and e.position <= %(up_to)s)
            )
            from unnest(%(tenants)s::text[]) as tenant (tenant_id)
            """,
            {"tenants": sorted(tenants), "after": after, "up_to": up_to},
        ).fetchall()
    return {tenant_id: None if newest is None else newest.isoformat() for tenant_id, newest in rows}
