"""Sessions that do something before a statement of theirs: end, or let another writer in between.

Defines the cursor of such sessions, and what must hold of the log whatever was done.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg_pool import ConnectionPool

from analytics_pipelines import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from analytics_pipelines.settings import Settings

    BeforeStatement = Callable[[psycopg.Connection, str], None]

WHOLE = """
    select
        (select count(*) from event_log.events),
        (select count(*) from event_log.events natural join event_log.event_ids),
        (select count(*) from event_log.event_ids),
        (select count(*) from event_log.streams as head where version <> (
            select count(*) from event_log.events as e
            where (e.tenant_id, e.stream_id) = (head.tenant_id, head.stream_id))),
        (select count(*) from (
            select stream_version, row_number() over (partition by tenant_id, stream_id order by position) as number
            from event_log.events) as numbered where stream_version <> number)
"""


class WatchedCursor(psycopg.Cursor):
    """A cursor that tells of each statement, before it is sent."""

    before: ClassVar[BeforeStatement]

    def execute(self, query: Any, *arguments: Any, **named: Any) -> Any:
        """Tell, then execute."""
        type(self).before(self.connection, str(query))
        return super().execute(query, *arguments, **named)

    def executemany(self, query: Any, *arguments: Any, **named: Any) -> None:
        """The same of many."""
        type(self).before(self.connection, str(query))
        super().executemany(query, *arguments, **named)

    def copy(self, statement: Any, *arguments: Any, **named: Any) -> Any:
        """The same of COPY."""
        type(self).before(self.connection, str(statement))
        return super().copy(statement, *arguments, **named)


@contextmanager
def watched_pool(settings: Settings, before: BeforeStatement) -> Generator[ConnectionPool]:
    """Open a pool of runtime sessions that do something before each statement."""
    cursor = type("Watched", (WatchedCursor,), {"before": staticmethod(before)})
    arguments = {"options": connections.RUNTIME_OPTIONS, "cursor_factory": cursor}
    with ConnectionPool(connections.database_url(settings), min_size=1, max_size=4, kwargs=arguments) as pool:
        yield pool


def ends_at(number: int, settings: Settings) -> BeforeStatement:
    """End the session that is about to send the n-th statement of all."""
    numbers = itertools.count(1)

    def end(session: psycopg.Connection, _: str) -> None:
        if next(numbers) == number:
            with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s, 5000)", [session.info.backend_pid])

    return end


def assert_whole(pool: ConnectionPool, events: int) -> None:
    """Hold that the log has so many events, each with its identity, and streams numbered in order without a hole."""
    with pool.connection() as connection:
        assert connection.execute(WHOLE).fetchone() == (events, events, events, 0, 0)
