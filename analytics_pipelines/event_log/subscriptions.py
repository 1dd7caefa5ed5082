"""Following the log: new events as they settle.

Defines `Subscription` (an iterator of one reader that keeps its position itself) and `DurableSubscription` (named; its
position is committed with its handler's writes, and processes share its streams). Both read from the log itself, so
the log is their queue: a slow reader costs no memory, and nothing is lost that it did not ask to drop.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
import weakref
from collections import Counter, deque
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import psycopg
from psycopg.rows import class_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import reading
from analytics_pipelines.event_log.bell import Bell
from analytics_pipelines.event_log.encryption import SEALED
from analytics_pipelines.event_log.event import Event, Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.reading import Selection

    Handler = Callable[[Connection, Sequence[Event]], None]

WhenFull = Literal["block", "drop_oldest", "drop_newest"]

POLL_SECONDS = 1.0
BUFFER_EVENTS = 5_000
ALL_TENANTS = "*"
MOST_SHARES = 256


class Subscription:
    """New events of the log, in order of position, as they settle; for `for` and for `async for`.

    It waits for the next event until it is closed, which also happens when nobody holds it any more. Its session is
    its own, not one of the pool's. When the server goes away it raises `psycopg.OperationalError`; subscribe again after
    its `position`.

    Attributes:
        position: of the last event that was given out: what to subscribe after to go on later.
    """

    def __init__(  # noqa: PLR0913 - by keyword; `EventStore.subscribe` makes these
        self,
        pool: ConnectionPool,
        selection: Selection,
        *,
        after: int | None,
        buffer_events: int,
        when_full: WhenFull,
        poll_seconds: float,
    ) -> None:
        """Open the session; see `EventStore.subscribe`."""
        self._follower = _Follower(
            pool, selection, after=after, buffer_events=buffer_events, when_full=when_full, poll_seconds=poll_seconds
        )
        self.position = self._follower.read_to
        self._next: Future[Event | Gap | None] | None = None
        weakref.finalize(self, self._follower.close)

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> Event | Gap:
        """Return the next event, waiting for it; end when it is closed."""
        item = self._follower.take()
        if item is None:
            raise StopIteration
        return self._given_out(item)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Event | Gap:
        """As `__next__`; the event loop goes on meanwhile. A wait that is cancelled loses no event."""
        if self._next is None:
            item = self._follower.take_at_once()
            if item is not None:
                return self._given_out(item)
            self._next = self._follower.take_in_a_thread()
        item = await asyncio.shield(asyncio.wrap_future(self._next))
        self._next = None
        if item is None:
            raise StopAsyncIteration
        return self._given_out(item)

    def close(self) -> None:
        """End the iteration, from any thread; returns when the session is closed."""
        self._follower.close()

    async def aclose(self) -> None:
        """As `close`; the event loop goes on meanwhile."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    def _given_out(self, item: Event | Gap) -> Event | Gap:
        self.position = item.last_position if isinstance(item, Gap) else item.position
        return item


class _Follower:
    """What a subscription reads with. It does not know the subscription, so that a thread that waits keeps none alive."""

    def __init__(  # noqa: PLR0913 - by keyword; as `Subscription`
        self,
        pool: ConnectionPool,
        selection: Selection,
        *,
        after: int | None,
        buffer_events: int,
        when_full: WhenFull,
        poll_seconds: float,
    ) -> None:
        self._selection = selection
        self._limit = buffer_events
        self._when_full = when_full
        self._buffer: deque[Event | Gap] = deque()
        self._stopped = threading.Event()
        self._lock = threading.RLock()
        self._connection = _open(pool)
        try:
            settled = reading.settle(self._connection)
            self._bell = Bell(self._connection, poll_seconds)
        except BaseException:
            self._connection.close()
            raise
        self.read_to = settled if after is None else after

    def take(self) -> Event | Gap | None:
        """Return the next item, waiting for it, or None when it is closed."""
        with self._lock:
            while not self._stopped.is_set():
                if self._buffer:
                    return self._buffer.popleft()
                if not self._fill():
                    self._bell.wait(self._stopped)
            return None

    def take_at_once(self) -> Event | Gap | None:
        """Return the next item if it is at hand. Nobody may be in `take`."""
        return self._buffer.popleft() if self._buffer and not self._stopped.is_set() else None

    def take_in_a_thread(self) -> Future[Event | Gap | None]:
        """As `take`. The thread is a daemon: a process that ends does not wait for an event."""
        taken: Future[Event | Gap | None] = Future()
        taken.set_running_or_notify_cancel()  # from now on it cannot be cancelled: an event would be lost

        def take() -> None:
            try:
                taken.set_result(self.take())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                taken.set_exception(error)

        threading.Thread(target=take, name="event-log-subscription", daemon=True).start()
        return taken

    def close(self) -> None:
        """End `take`, and close the session."""
        self._stopped.set()
        with self._lock:
            self._connection.close()

    def _fill(self) -> bool:
        """Fill the buffer with what has settled since; tell whether there was anything."""
        settled = reading.settle(self._connection)
        if settled <= self.read_to:
            return False
        after, is_backward = self.read_to, self._when_full == "drop_oldest"
        events = self._read(after, settled, backward=is_backward)
        is_full = len(events) == self._limit
        if is_backward:
            events.reverse()
        self._buffer.extend(events)
        if is_full and self._when_full == "block":
            self.read_to = events[-1].position
        else:
            self.read_to = settled
        if is_full and self._when_full == "drop_oldest":
            self._buffer.extendleft(self._gap(after, events[0].position - 1))
        elif is_full and self._when_full == "drop_newest":
            self._buffer.extend(self._gap(events[-1].position, settled))
        if events:
            self._selection = self._selection.past(events[-1].stream_version)
            self._bell.reset()
        return bool(events)

    def _read(self, after: int, up_to: int, *, backward: bool) -> list[Event]:
        return reading.read_once(
            self._connection, self._selection, after=after, up_to=up_to, limit=self._limit, backward=backward
        )

    def _gap(self, after: int, up_to: int) -> list[Gap]:
        missed = reading.count(self._connection, self._selection, after, up_to)
        return [Gap(after + 1, up_to, missed)] if missed else []


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

    def process(self, handler: Handler, *, until_settled: bool = False) -> None:
        """Handle events as they settle, until `close` is called.

        The position moves when the handler returns, in its transaction. When the handler raises, its writes are rolled
        back, the error is raised here, and the same events come again.

        Args:
            handler: gets the session, within the transaction that will commit the position, and the next events of
                some streams in order. It must write to that session only, and neither commit nor roll back.
            until_settled: end when there is nothing left to handle that nobody else holds.

        Raises:
            PipelinesError: the server is a standby.
        """
        listening = _open(self._pool)
        with listening:
            bell = Bell(listening, self._poll_seconds)
            while not self._stopped.is_set():
                settled = reading.settle(listening)
                if self._step(handler, settled):
                    bell.reset()
                elif until_settled:
                    return
                else:
                    bell.wait(self._stopped)

    def close(self) -> None:
        """Let `process` end after the batch it is at, from any thread."""
        self._stopped.set()

    def _step(self, handler: Handler, settled: int) -> bool:
        """Handle one batch of the share that is furthest behind; tell whether there was one."""
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
            if events:
                handler(connection, events)
            connection.execute(
                """
                update event_log.subscriptions set position = %s, moved_at = clock_timestamp()
                where tenant_id = %s and name = %s and share = %s
                """,
                [
                    events[-1].position if len(events) == self._batch_events else settled,
                    self._tenant,
                    self._name,
                    share,
                ],
            )
            return True


def _open(pool: ConnectionPool) -> Connection:
    """Open a session beside the pool: who waits must not take one from those who work."""
    kwargs: Any = pool.kwargs  # a mapping, as `connections.open_pool` gives it
    arguments: dict[str, Any] = {**(kwargs or {}), "autocommit": True}
    return psycopg.connect(str(pool.conninfo), **arguments)
