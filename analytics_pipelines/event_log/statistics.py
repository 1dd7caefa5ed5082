"""How much the log holds, and who keeps it from settling.

Defines the counts that the catalog shows, and the writers that hold the cursor back. The counts are kept up from one
build to the next: nothing counts a billion rows again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

_EVENTS = """
    with before as (
        select tenant_id, position, rows from progress.builds
        where asset_key = 'event_log/events' and position <= %(up_to)s
    ),
    added as (
        select tenant_id, count(*) as rows from event_log.events
        where position > (select coalesce(max(position), 0) from before) and position <= %(up_to)s
        group by tenant_id
    )
    select tenant_id, coalesce(before.rows, 0) + coalesce(added.rows, 0)
    from (select * from before where tenant_id <> '*') as before full join added using (tenant_id)
    order by tenant_id
"""


def events_by_tenant(connection: Connection, up_to: int) -> dict[str, int]:
    """Return the number of events up to a position by tenant: the newest build's, and what came since."""
    return dict(connection.execute(_EVENTS, {"up_to": up_to}).fetchall())


def refused_by_kind(connection: Connection) -> dict[str, int]:
    """Return the number of quarantined events by kind."""
    query = "select kind, count(*) from event_log.quarantine group by kind order by kind"
    return dict(connection.execute(query).fetchall())


_NEWEST = 1_000

# Where partitions are detached, the oldest event that is left of a stream may have none before it.
_GAPS = """
    select distinct tenant_id || '/' || stream_id
    from (
        select tenant_id, stream_id, stream_version from event_log.events
        where position <= progress.up_to_position() order by position desc limit %s
    ) as newest
    cross join lateral (
        select count(*) filter (where stream_version = newest.stream_version) as same,
            count(*) filter (where stream_version < newest.stream_version) as before
        from event_log.events
        where tenant_id = newest.tenant_id and stream_id = newest.stream_id
            and stream_version between newest.stream_version - 1 and newest.stream_version
    ) as neighbours
    where same <> 1
        or before <> least(newest.stream_version - 1, 1) and not (
            before = 0
            and exists (select from event_log.partitions where detached_at is not null)
            and not exists (
                select from event_log.events
                where tenant_id = newest.tenant_id and stream_id = newest.stream_id
                    and stream_version < newest.stream_version
            )
        )
    order by 1
"""


def streams_with_gaps(connection: Connection) -> list[str]:
    """Return the streams in which one of the newest thousand events does not follow the version before it.

    What this costs does not grow with the streams; `verify` looks at the whole of each.
    """
    return [row[0] for row in connection.execute(_GAPS, [_NEWEST]).fetchall()]


SLOW_SECONDS = 60
"""A transaction that appends and is open for longer is worth a word."""


@dataclass(frozen=True, slots=True)
class Writer:
    """A transaction that has appended and not ended: the settled position cannot pass it.

    Attributes:
        pid: its session's process; None for a prepared transaction, which has none.
        application: what the session calls itself.
        seconds: how long the transaction is open; None when the log's owner may not see other logins' sessions.
        query: the beginning of what it runs or ran last.
    """

    pid: int | None
    application: str | None
    seconds: float | None
    query: str | None

    def __str__(self) -> str:
        """Name it in one line."""
        age = "for an unknown time" if self.seconds is None else f"for {self.seconds:.0f} s"
        query = " ".join((self.query or "").split())
        return f"pid {self.pid or '-'} ({self.application or 'unnamed'}), open {age}: {query}"


def open_writers(connection: Connection) -> list[Writer]:
    """Return the transactions that hold the settled position back, oldest first; none when it is the newest."""
    query = "select pid, application, seconds, query from event_log.open_writers()"
    return [Writer(*row) for row in connection.execute(query).fetchall()]
