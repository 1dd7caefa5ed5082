"""The bell: tells those who wait that something was appended.

Defines `ring()`, for appenders after their commit, and `Bell`, for readers. Ringing is best effort and saves waiting
only: who hears nothing looks again by itself. It is never part of the transaction that appends, because the commit of a
NOTIFY takes a lock shared by the whole server.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

_CHANNEL = "event_log"
# However fast events are appended, a process rings at most so often, ...
_BETWEEN_RINGS = 0.003
# ... and its thread ends when there was nothing to ring for so long.
_IDLE_SECONDS = 5.0

# One that rings at this moment, after our commit, rings for us, too. What is lost in a crash need not be on disk.
_RING = """
    select set_config('synchronous_commit', 'off', true), pg_notify('event_log', '')
    where pg_try_advisory_xact_lock(2017, 10)
"""

_FIRST_WAIT = 0.002


class _Ringer:
    """A thread that rings for one pool, so that no appender waits for it."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = weakref.ref(pool)
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._is_running = False

    def ring(self) -> None:
        self._asked.set()
        with self._lock:
            if not self._is_running:
                self._is_running = True
                try:
                    threading.Thread(target=self._run, name="event-log-bell", daemon=True).start()
                except RuntimeError:  # no thread is to be had: readers look by themselves
                    self._is_running = False

    def _run(self) -> None:
        while True:
            if not self._asked.wait(_IDLE_SECONDS):
                with self._lock:
                    if not self._asked.is_set():
                        self._is_running = False
                        return
            self._asked.clear()
            pool = self._pool()
            if pool is not None:
                try:
                    with pool.connection(timeout=1) as connection:
                        connection.execute(_RING)
                except psycopg.Error:
                    pass  # closed, or no connection is free: readers look by themselves
            del pool
            time.sleep(_BETWEEN_RINGS)


_ringers: weakref.WeakKeyDictionary[ConnectionPool, _Ringer] = weakref.WeakKeyDictionary()
_ringers_lock = threading.Lock()


def ring(pool: ConnectionPool) -> None:
    """Tell the readers of this database, soon, that something was committed. Does not wait and does not fail."""
    with _ringers_lock:
        ringer = _ringers.setdefault(pool, _Ringer(pool))
    ringer.ring()


class Bell:
    """Listens on a session of its own. Each wait is twice as long as the one before, until the bell rings."""

    def __init__(self, connection: Connection, longest: float) -> None:
        """Listen.

        Args:
            connection: a session in autocommit mode that nobody else waits on.
            longest: after how many seconds at most a wait ends.
        """
        connection.execute(f"listen {_CHANNEL}".encode())
        self._connection = connection
        self._longest = longest
        self._next = _FIRST_WAIT

    def wait(self, stopped: threading.Event) -> None:
        """Wait until the bell rings, the time is over, or `stopped` is set (seen within a quarter of a second)."""
        until = time.monotonic() + self._next
        self._next = min(2 * self._next, self._longest)
        while not stopped.is_set() and (remaining := until - time.monotonic()) > 0:
            for _ in self._connection.notifies(timeout=min(remaining, 0.25), stop_after=1):
                self.reset()
                return

    def reset(self) -> None:
        """Begin with short waits again: what was announced may settle a moment later."""
        self._next = _FIRST_WAIT
