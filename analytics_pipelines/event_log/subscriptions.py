"""Following the log: new events as they settle.

Defines `Subscription`, an iterator of one reader that keeps its position itself; `durable.py` has those that are named.
Both read from the log itself, so the log is their queue: a slow reader costs no memory, and nothing is lost that it did
not ask to drop.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal, Self

import psycopg

from analytics_pipelines.event_log import reading
from analytics_pipelines.event_log.bell import Bell
from analytics_pipelines.event_log.event import Event, Gap

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.reading import Selection

WhenFull = Literal["block", "drop_oldest", "drop_newest"]

POLL_SECONDS = 1.0
BUFFER_EVENTS = 5_000


class Subscription:
    """New events of the log, in order of position, as they settle; for `for` and for `async for`.

    It waits for the next event until it is closed, by `close` or when nobody holds it any more. Its session is its own,
    not one of the pool's. When the server goes away it raises `psycopg.OperationalError`; subscribe again after its
    `position`.

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
    """What a subscription reads with; it does not know the subscription, so that a thread that waits lets that go."""

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
        self._connection = open_session(pool)
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


def open_session(pool: ConnectionPool) -> Connection:
    """Open a session beside the pool: who waits must not take one from those who work."""
    kwargs: Any = pool.kwargs  # a mapping, as `connections.open_pool` gives it
    arguments: dict[str, Any] = {**(kwargs or {}), "autocommit": True}
    return psycopg.connect(str(pool.conninfo), **arguments)
