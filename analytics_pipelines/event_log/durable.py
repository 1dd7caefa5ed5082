"""Following the log under a name, with others, and never twice.

Defines `DurableSubscription`: its position is committed with its handler's writes, and processes share its streams.
What its handler cannot handle stops it, or is set aside as a `DeadLetter`.
"""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import reading
from analytics_pipelines.event_log.bell import Bell
from analytics_pipelines.event_log.encryption import SEALED
from analytics_pipelines.event_log.subscriptions import open_session
from analytics_pipelines.event_log.writing import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.event import Event
    from analytics_pipelines.event_log.reading import Selection

    Handler = Callable[[Connection, Sequence[Event]], None]

ALL_TENANTS = "*"
MOST_SHARES = 256
MOST_REASON = 1_000


class HandlerFailedError(PipelinesError):
    """The handler of a durable subscription cannot handle an event; its own error is the cause."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a durable subscription went on without.

    Attributes:
        position: where it stands in the log.
        attempts: how often the handler failed on it.
        reason: its newest error; without its words where the event tells of a person.
        set_aside_at: when the subscription went on without it (UTC).
    """

    position: int
    attempts: int
    reason: str
    set_aside_at: datetime


class DurableSubscription:
    """A named reader whose position is committed together with what its handler writes.

    Its streams are parted into shares. Any number of processes may call `process` at once: each takes the share that is
    furthest behind and held by nobody, handles a batch of it and lets it go. So the events of one stream are handled in
    order, by one process at a time, and what a killed process held is taken over by the others at once.
    """

    def __init__(  # noqa: PLR0913 - by keyword; `EventStore.subscription` makes these
        self,
        pool: ConnectionPool,
        name: str,
        selection: Selection,
        *,
        after: int,
        shares: int,
        batch_events: int,
        poll_seconds: float,
    ) -> None:
        """Write down the shares, the first time; see `EventStore.subscription`."""
        if not 1 <= shares <= MOST_SHARES:
            raise PipelinesError(f"subscription {name}: {shares} shares; give 1 to {MOST_SHARES}")
        self._pool = pool
        self._name = name
        self._tenant = ALL_TENANTS if selection.tenant_id is None else selection.tenant_id
        self._selection = selection
        self._shares = shares
        self._batch_events = batch_events
        self._poll_seconds = poll_seconds
        self._stopped = threading.Event()
        with pool.connection() as connection:
            reading.settle(connection)
            # Two processes that begin at once shall not mix their numbers of shares.
            connection.execute("select pg_advisory_xact_lock(2019, hashtext(%s))", [f"{self._tenant}/{name}"])
            connection.execute(
                """
                insert into event_log.subscriptions (tenant_id, name, share, shares, position)
                select %s, %s, share, %s, %s from generate_series(0, %s) as share
                where not exists (select from event_log.subscriptions where tenant_id = %s and name = %s)
                """,
                [self._tenant, name, shares, after, shares - 1, self._tenant, name],
            )
            row = connection.execute(
                "select shares from event_log.subscriptions where tenant_id = %s and name = %s limit 1",
                [self._tenant, name],
            ).fetchone()
        if row is not None and row[0] != shares:
            raise PipelinesError(
                f"subscription {name} of {self._tenant} has {row[0]} shares, not {shares}; ask for {row[0]}, or choose "
                "another name"
            )

    def positions(self) -> list[int]:
        """Return up to which position each share has been handled."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "select position from event_log.subscriptions where tenant_id = %s and name = %s order by share",
                [self._tenant, self._name],
            ).fetchall()
        return [row[0] for row in rows]

    def dead_letters(self) -> list[DeadLetter]:
        """Return the events that were set aside, in order of position; `EventStore.read` has them."""
        with self._pool.connection() as connection, connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
            return cursor.execute(
                "select position, attempts, reason, set_aside_at from event_log.dead_letters"
                " where tenant_id = %s and name = %s order by position",
                [self._tenant, self._name],
            ).fetchall()

    def process(self, handler: Handler, *, until_settled: bool = False, attempts: int | None = None) -> None:
        """Handle events as they settle, until `close` is called.

        The position moves when the handler returns, in its transaction. When the handler raises, its writes are rolled
        back and it gets the same events again, one at a time: those before the one that it cannot handle are done.

        Args:
            handler: gets the session, within the transaction that will commit the position, and the next events of
                some streams in order. It must write to that session only, and neither commit nor roll back.
            until_settled: end when there is nothing left to handle that nobody else holds.
            attempts: after how many failures on one event, `poll_seconds` apart, it is set aside as a dead letter and
                the rest goes on, later events of its stream too. Unless given, none is: the first failure is raised.

        Raises:
            HandlerFailedError: the handler cannot handle an event; it names event, position and subscription.
            PipelinesError: the server is a standby.
        """
        failures: Counter[int] = Counter()
        listening = open_session(self._pool)
        with listening:
            bell = Bell(listening, self._poll_seconds)
            while not self._stopped.is_set():
                settled = reading.settle(listening)
                try:
                    was_moved = self._step(handler, settled, attempts, failures)
                except HandlerFailedError:
                    if attempts is None:
                        raise
                    self._stopped.wait(self._poll_seconds)
                    continue
                if was_moved:
                    bell.reset()
                elif until_settled:
                    return
                else:
                    bell.wait(self._stopped)

    def close(self) -> None:
        """Let `process` end after the batch it is at, from any thread."""
        self._stopped.set()

    def _step(self, handler: Handler, settled: int, attempts: int | None, failures: Counter[int]) -> bool:
        """Handle one batch of the share that is furthest behind; tell whether there was one.

        Raises:
            HandlerFailedError: an event cannot be handled and is not to be set aside yet; what is before it is done.
        """
        failed: tuple[Event, Exception] | None = None
        with self._pool.connection() as connection, connection.transaction():
            row = connection.execute(
                """
                select share, position from event_log.subscriptions
                where tenant_id = %s and name = %s and position < %s
                order by position limit 1 for update skip locked
                """,
                [self._tenant, self._name, settled],
            ).fetchone()
            if row is None:
                return False
            share, position = row
            selection = self._selection if self._shares == 1 else replace(self._selection, share=(share, self._shares))
            events = reading.read_once(connection, selection, after=position, up_to=settled, limit=self._batch_events)
            handled_to = events[-1].position if len(events) == self._batch_events else settled
            error = _attempt(connection, handler, events)
            for event in events if error is not None else ():
                error = error if len(events) == 1 else _attempt(connection, handler, [event])
                if error is None:
                    continue
                failures[event.position] += 1
                if attempts is None or failures[event.position] < attempts:
                    failed, handled_to = (event, error), event.position - 1
                    break
                self._set_aside(connection, event, failures.pop(event.position), error)
            connection.execute(
                """
                update event_log.subscriptions set position = greatest(position, %s), moved_at = clock_timestamp()
                where tenant_id = %s and name = %s and share = %s
                """,
                [handled_to, self._tenant, self._name, share],
            )
        if failed is not None:
            event, error = failed
            raise HandlerFailedError(
                f"subscription {self._name} of {self._tenant} cannot handle {event.event_type} {event.event_id} of "
                f"{event.tenant_id} at position {event.position}: {_reason(event, error)}; correct the handler, or "
                "give attempts to go on without such events"
            ) from error
        return True

    def _set_aside(self, connection: Connection, event: Event, attempts: int, error: Exception) -> None:
        connection.execute(
            "insert into event_log.dead_letters (tenant_id, name, position, attempts, reason)"
            " values (%s, %s, %s, %s, %s) on conflict do nothing",
            [self._tenant, self._name, event.position, attempts, _reason(event, error)],
        )


def _attempt(connection: Connection, handler: Handler, events: Sequence[Event]) -> Exception | None:
    """Call the handler within a part of the transaction, and return its error; its writes are undone then."""
    if not events:
        return None
    try:
        with connection.transaction():
            handler(connection, events)
    except Exception as error:
        if connection.closed:  # no fault of the event's
            raise
        return error
    return None


def _reason(event: Event, error: Exception) -> str:
    """Say in one line what went wrong; of events with personal values not in the error's words, which may hold them."""
    place = traceback.extract_tb(error.__traceback__)[:2][-1]  # the handler's own line, which `_attempt` called
    where = f"{type(error).__name__} in {place.name}, line {place.lineno}"
    return where if SEALED in event.data_json else readable(f"{where}: {error}".splitlines()[0][:MOST_REASON])
