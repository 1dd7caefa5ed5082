"""The safe cursor: nobody reads past a position whose writer has not ended."""

from __future__ import annotations

import os
import random
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from analytics_pipelines.event_log import EventStore, NewEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

INSERT = """
    insert into event_log.events (tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version,
        occurred_at, data)
    values ('race', %s, %s, 'order-1', 1, 'order_paid', 1, now(), '{}') returning position
"""
WRITERS = 8
TRANSACTIONS = 2_000 if "PROVE" in os.environ else 60


def settle(pool: ConnectionPool) -> int:
    """The settled position, asked in a transaction of its own."""
    return EventStore(pool).settled_position()


def test_an_open_transaction_holds_the_cursor_until_it_ends(database: ConnectionPool) -> None:
    """A position that was handed out and not committed is not passed, and is read once it is committed."""
    with database.connection() as slow:
        first = slow.execute(INSERT, ["a", "1"]).fetchone()
        with database.connection() as fast:
            second = fast.execute(INSERT, ["b", "1"]).fetchone()
        assert first is not None
        assert second is not None
        assert second[0] > first[0]
        assert settle(database) < first[0]
    assert settle(database) == second[0]


def test_a_rolled_back_writer_leaves_a_gap_and_no_halt(database: ConnectionPool) -> None:
    """A gap of an aborted transaction is passed at once."""
    with database.connection() as connection:
        connection.execute(INSERT, ["a", "1"])
        connection.rollback()
    EventStore(database).append_batch("t", [_paid(1)])
    assert settle(database) == 2


def test_progress_is_made_while_writers_overlap_without_end(database: ConnectionPool) -> None:
    """With always some transaction open, the cursor still moves on to what has ended."""
    with database.connection() as one:
        one.execute(INSERT, ["a", "1"])
        assert settle(database) == 0
        with database.connection() as two:
            two.execute(INSERT, ["b", "1"])
            one.commit()
            assert settle(database) >= 1
            assert settle(database) < 2
        assert settle(database) == 2


def test_a_stranger_with_a_long_transaction_holds_nothing_back(database: ConnectionPool) -> None:
    """A long transaction that appends nothing, such as a dbt build, does not hold the cursor back."""
    with database.connection() as stranger:
        stranger.execute("create temporary table strange as select pg_current_xact_id()")
        EventStore(database).append_batch("t", [_paid(1)])
        assert settle(database) == 1


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1, 2])
def test_no_committed_event_is_skipped(database: ConnectionPool, database_settings: Settings, seed: int) -> None:
    """A reader that follows the settled position sees every committed event exactly once, whatever writers do.

    The same race read by "position > highest seen" loses events, so the race has teeth.
    """
    safe, naive = _race(database, database_settings, seed)
    with database.connection() as connection:
        committed = {row[0] for row in connection.execute("select position from event_log.events").fetchall()}
    lost = len(committed - set(naive))
    print(f"seed {seed}: {len(committed)} committed, safe cursor read {len(safe)}, naive cursor lost {lost}")  # noqa: T201
    assert len(safe) == len(set(safe))
    assert set(safe) == committed
    assert set(naive) < committed


def _race(pool: ConnectionPool, settings: Settings, seed: int) -> tuple[list[int], list[int]]:
    url = settings.database_url.get_secret_value()  # type: ignore[union-attr]
    options = {"options": "-c role=pipelines_runtime"}
    writers = [threading.Thread(target=_write, args=(url, options, seed, number)) for number in range(WRITERS)]
    done = threading.Event()
    safe: list[int] = []
    naive: list[int] = []
    readers = [
        threading.Thread(target=_follow, args=(url, options, done, safe, lambda: settle(pool))),
        threading.Thread(target=_follow, args=(url, options, done, naive, lambda: 2**62)),
    ]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    return safe, naive


def _write(url: str, options: dict[str, str], seed: int, number: int) -> None:
    chance = random.Random(f"{seed}/{number}")
    with psycopg.connect(url, **options) as connection:
        for transaction in range(TRANSACTIONS):
            for event in range(chance.randint(1, 3)):
                connection.execute(INSERT, [f"writer-{number}", f"{transaction}-{event}"])
                time.sleep(chance.random() * 0.004)
            if chance.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()


def _follow(
    url: str, options: dict[str, str], done: threading.Event, seen: list[int], limit: Callable[[], int]
) -> None:
    with psycopg.connect(url, autocommit=True, **options) as connection:
        last_round = False
        while True:
            _read_once(connection, seen, limit())
            if last_round:
                return
            last_round = done.is_set()


def _read_once(connection: Connection, seen: list[int], limit: int) -> None:
    after = max(seen, default=0)
    query = "select position from event_log.events where position > %s and position <= %s order by position"
    seen.extend(row[0] for row in connection.execute(query, [after, limit]).fetchall())


def _paid(number: int) -> NewEvent:
    moment = datetime(2017, 6, 1, tzinfo=UTC)
    return NewEvent("test", f"{number}", "order-1", "order_paid", moment, {"order_id": "1", "amount": 1})
