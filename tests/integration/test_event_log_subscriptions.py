"""Following the log: nothing is lost, nothing comes twice, and who drops events says so."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import itertools
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Event, EventStore, Gap, NewEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log.durable import Handler
    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
WRITERS = 4
KILLS = 40 if "PROVE" in os.environ else 3
EVENTS_PER_KILL = 25


def event(number: int | str, stream: str = "order-1", event_type: str = "order_paid") -> NewEvent:
    return NewEvent("test", str(number), stream, event_type, NOON, {"order_id": stream, "amount": 1})


def append(store: EventStore, *numbers: int, stream: str = "order-1") -> None:
    store.append_batch("acme", [event(number, stream) for number in numbers])


def told(item: Event | Gap) -> int | str:
    return f"{item.missed} missed" if isinstance(item, Gap) else int(item.event_id)


def test_new_events_come_as_they_settle_until_it_is_closed(store: EventStore) -> None:
    """A subscription gives what is appended from now on, waits meanwhile, and ends when another thread closes it."""
    append(store, 1)
    seen: list[int | str] = []
    with store.subscribe() as subscription:
        reader = threading.Thread(target=lambda: seen.extend(map(told, subscription)))
        reader.start()
        append(store, 2, 3)
        append(store, 4)
        deadline = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        subscription.close()
        reader.join(20)
        assert not reader.is_alive()
    assert seen == [2, 3, 4]
    assert list(subscription) == []


def test_the_bell_wakes_a_reader(store: EventStore) -> None:
    """An append is seen though the reader would not look again by itself for a quarter of an hour."""
    with store.subscribe(poll_seconds=1_000) as subscription:
        found: list[Event | Gap] = []
        reader = threading.Thread(target=lambda: found.append(next(subscription)))
        reader.start()
        time.sleep(5)  # by now it waits for 4 s and more
        append(store, 1)
        reader.join(2)
        was_heard = bool(found)
    reader.join()
    assert was_heard


def test_without_the_bell_a_reader_looks_by_itself(store: EventStore, database: ConnectionPool) -> None:
    """What rings no bell, such as an append in a caller's transaction, is seen all the same."""
    with store.subscribe(poll_seconds=0.1) as subscription:
        with database.connection() as connection:
            connection.execute("select 'a transaction begins'")
            store.append("acme", "order-1", [event(1)], connection=connection)
        assert told(next(subscription)) == 1


def test_a_subscription_follows_its_selection_past_its_position(store: EventStore) -> None:
    """By tenant, type and stream, past the position that is asked for, and on from `position` later."""
    append(store, 1, 2, 3)
    append(store, 4, stream="order-2")
    store.append_batch("other", [event(5)])
    first = next(store.read())
    with store.subscribe(after=first.position, tenant_id="acme", stream_id="order-1", buffer_events=1) as subscription:
        assert [told(item) for item in islice(subscription, 2)] == [2, 3]
        append(store, 6)
        store.append_batch("acme", [event(7, event_type="order_shipped")])
        assert [told(item) for item in islice(subscription, 2)] == [6, 7]
    with store.subscribe(after=subscription.position - 1, tenant_id="acme", event_types=["order_shipped"]) as later:
        assert told(next(later)) == 7


def test_it_never_reads_past_an_open_transaction(store: EventStore, database: ConnectionPool) -> None:
    """A writer that has not ended holds a subscription back, and its event then comes first."""
    with store.subscribe(poll_seconds=0.05) as subscription:
        with database.connection() as slow:
            slow.execute("select 'a transaction begins'")
            store.append("acme", "order-1", [event(1)], connection=slow)
            append(store, 2, stream="order-2")
            found: list[Event | Gap] = []
            reader = threading.Thread(target=lambda: found.extend(islice(subscription, 2)))
            reader.start()
            time.sleep(0.5)
            assert found == []
        reader.join(20)
    assert [told(item) for item in found] == [1, 2]


@pytest.mark.parametrize(
    ("when_full", "expected"),
    [
        ("block", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("drop_oldest", ["7 missed", 8, 9, 10]),
        ("drop_newest", [1, 2, 3, "7 missed"]),
    ],
)
def test_what_is_dropped_is_told(store: EventStore, when_full: Any, expected: list[Any]) -> None:
    """When more has come than the buffer holds, it is kept in the log, or dropped with a marker that counts."""
    with store.subscribe(buffer_events=3, when_full=when_full) as subscription:
        append(store, *range(1, 11))
        got = list(islice(subscription, len(expected)))
        assert [told(item) for item in got] == expected
        for item in got:
            if isinstance(item, Gap):
                within = store.read(after=item.first_position - 1, up_to=item.last_position)
                assert len(list(within)) == item.missed == 7
        append(store, 11)
        assert told(next(subscription)) == 11


def test_it_is_iterated_asynchronously(store: EventStore) -> None:
    """`async for` gives the same, leaves the event loop free, and a wait that is cancelled loses no event."""

    async def follow() -> list[int | str]:
        async with store.subscribe() as subscription:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(subscription), 0.3)
            await asyncio.to_thread(append, store, 1, 2, 3)
            return [told(await anext(subscription)) for _ in range(3)]

    assert asyncio.run(follow()) == [1, 2, 3]


def test_who_is_let_go_in_the_middle_leaves_nothing_behind(store: EventStore, database: ConnectionPool) -> None:
    """Iterated without `async with`, cancelled while it waits and forgotten: its thread and its session end."""

    async def follow() -> None:
        async def forever() -> None:
            async for _ in store.subscribe(poll_seconds=1_000):
                pass

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(forever(), 0.3)

    asyncio.run(follow())
    gc.collect()
    sessions = "select count(*) from pg_stat_activity where datname = current_database() and usename = session_user"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with database.connection() as connection:
            row = connection.execute(sessions).fetchone()
        threads = [each for each in threading.enumerate() if each.name.startswith("event-log-subscription")]
        if row == (database.get_stats()["pool_size"],) and not threads:
            return
        time.sleep(0.05)
    pytest.fail(f"{row} sessions and {threads} are left")


def test_it_is_closed_asynchronously(store: EventStore) -> None:
    """`aclose` ends an iteration that another task waits in; a process that ends does not wait for an event."""

    async def follow() -> list[Event | Gap]:
        subscription = store.subscribe(poll_seconds=1_000)

        async def collect() -> list[Event | Gap]:
            return [item async for item in subscription]

        collecting = asyncio.create_task(collect())
        await asyncio.sleep(0.1)
        await subscription.aclose()
        return await asyncio.wait_for(collecting, 20)

    assert asyncio.run(follow()) == []


UNFINISHED = """
import asyncio
from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.settings import load_settings
with connections.open_pool(load_settings()) as pool:
    kept = EventStore(pool).subscribe(poll_seconds=1_000)
async def follow():
    try:
        await asyncio.wait_for(anext(kept), 0.3)
    except TimeoutError:
        print("nothing came")
asyncio.run(follow())
"""


def test_a_process_ends_though_a_subscription_waits(store: EventStore, database_settings: Settings) -> None:
    """A subscription that nobody closed and that a global name still holds keeps no interpreter from ending."""
    assert database_settings.database_url is not None
    environment = {**os.environ, "PIPELINES_DATABASE_URL": database_settings.database_url.get_secret_value()}
    ended = subprocess.run(
        [sys.executable, "-c", UNFINISHED], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "nothing came\n"), ended.stderr


def handle(connection: Connection, events: Sequence[Event]) -> None:
    """Write down what was handled, in order, in the transaction of the position."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into read_models.handled (stream_id, stream_version, position, pid) values (%s, %s, %s, %s)",
            [(each.stream_id, each.stream_version, each.position, os.getpid()) for each in events],
        )


def handle_slowly(connection: Connection, events: Sequence[Event]) -> None:
    """Leave time to be killed between the writes and the commit."""
    handle(connection, events)
    time.sleep(0.02)


@pytest.fixture
def handled(database: ConnectionPool) -> ConnectionPool:
    """A table for what a handler writes; nothing keeps it from writing twice."""
    with database.connection() as connection:
        connection.execute(
            "create table read_models.handled (number bigint generated always as identity, stream_id text, "
            "stream_version integer, position bigint, pid integer)"
        )
    return database


def positions(pool: ConnectionPool) -> list[int]:
    with pool.connection() as connection:
        return [row[0] for row in connection.execute("select position from read_models.handled order by number")]


def fail_on(*wrong: str, words: str = "no such order") -> Handler:
    """A handler that writes and then fails on some events."""

    def handler(connection: Connection, events: Sequence[Event]) -> None:
        handle(connection, events)
        if any(each.event_id in wrong for each in events):
            raise ValueError(words)

    return handler


def test_position_and_effects_commit_together(store: EventStore, handled: ConnectionPool) -> None:
    """A handler that fails leaves neither its writes nor a moved position; then the same events come again."""
    append(store, *range(10))
    subscription = store.subscription("mail", batch_events=4)
    for _ in range(2):
        with pytest.raises(PipelinesError) as failed:
            subscription.process(fail_on("5"), until_settled=True)
        assert str(failed.value).startswith(
            "subscription mail of * cannot handle order_paid 5 of acme at position 6: ValueError in handler, line "
        )
        assert isinstance(failed.value.__cause__, ValueError)
        assert positions(handled) == [1, 2, 3, 4, 5]
        assert subscription.positions() == [5]
    store.subscription("mail", batch_events=4).process(handle, until_settled=True)
    assert positions(handled) == list(range(1, 11))
    assert store.subscription("mail").positions() == [10]
    assert subscription.dead_letters() == []
    store.subscription("late", after=8).process(handle, until_settled=True)
    assert positions(handled)[10:] == [9, 10]


@pytest.mark.parametrize(("shares", "batch_events"), [(1, 4), (1, 1), (3, 4)])
def test_what_cannot_be_handled_is_set_aside_when_that_is_asked_for(
    store: EventStore, handled: ConnectionPool, shares: int, batch_events: int
) -> None:
    """After so many attempts an event is a dead letter with the reason, all others are handled once, none is lost."""
    for number in range(12):
        append(store, number, stream=f"order-{number % 5}")
    seen: Counter[int] = Counter()
    failing = fail_on("3", "11")

    def handler(connection: Connection, events: Sequence[Event]) -> None:
        if len(events) == 1:
            seen[events[0].position] += 1
        failing(connection, events)

    subscription = store.subscription("mail", shares=shares, batch_events=batch_events, poll_seconds=0.01)
    subscription.process(handler, until_settled=True, attempts=3)
    assert sorted(positions(handled)) == [each for each in range(1, 13) if each not in {4, 12}]
    assert (seen[4], seen[12]) == (3, 3)
    dead = store.subscription("mail", shares=shares).dead_letters()
    assert [(each.position, each.attempts) for each in dead] == [(4, 3), (12, 3)]
    assert dead[0].reason.startswith("ValueError in handler, line ")
    assert dead[0].reason.endswith(": no such order")
    assert subscription.positions() == [12] * shares


def test_a_dead_letter_holds_no_word_of_a_person(store: EventStore, handled: ConnectionPool) -> None:
    """An error's own words may quote a personal value, so they are not kept; the log has the event."""
    fields = {
        "lead_id": "1", "company_id": "c", "company": "C", "industry": "i", "company_size": 5, "lead_source": "web",
        "email_domain": "x.example", "name": "Ann Unmistakable",
    }  # fmt: skip
    store.append("acme", "lead-1", [NewEvent("test", "a", "lead-1", "lead_created", NOON, fields)])
    subscription = store.subscription("mail", poll_seconds=0.01)
    subscription.process(fail_on("a", words="Ann Unmistakable has no address"), until_settled=True, attempts=1)
    (dead,) = subscription.dead_letters()
    assert dead.reason.startswith("ValueError in handler, line ")
    assert "Ann" not in dead.reason


def test_a_lost_session_is_no_fault_of_an_event(store: EventStore, database_settings: Settings) -> None:
    """When the server ends the session, the error is raised as it is and nothing is set aside."""
    append(store, 1)

    def handler(connection: Connection, events: Sequence[Event]) -> None:
        with psycopg.connect(connections.admin_url(database_settings)) as admin:
            admin.execute("select pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        connection.execute("select 1")

    subscription = store.subscription("mail", poll_seconds=0.01)
    with pytest.raises(psycopg.OperationalError):
        subscription.process(handler, until_settled=True, attempts=1)
    assert subscription.dead_letters() == []
    assert subscription.positions() == [0]


def test_a_name_stands_for_one_number_of_shares(store: EventStore) -> None:
    """Shares cannot change: their positions would no longer tell what was handled."""
    store.subscription("mail", shares=4)
    with pytest.raises(PipelinesError, match="has 4 shares, not 2; ask for 4"):
        store.subscription("mail", shares=2)


def test_a_stream_never_changes_its_share(store: EventStore, database: ConnectionPool) -> None:
    """The share of a stream is the same on every server and in every version, or events would be lost."""
    for number in range(20):
        append(store, number, stream=f"order-{number}")
    batches: list[set[str]] = []
    store.subscription("first", shares=5).process(
        lambda _, events: batches.append({each.stream_id for each in events}), until_settled=True
    )
    assert sum(map(len, batches)) == 20
    assert all(len({share_of(stream) for stream in streams}) == 1 for streams in batches)
    with database.connection() as connection:
        rows = connection.execute(
            "select 'order-' || n, event_log.share_of('order-' || n, 5) from generate_series(1, 50) as n"
        ).fetchall()
    for stream, share in rows:
        assert share == share_of(stream)
    assert {share for _, share in rows} == set(range(5))


def share_of(stream: str) -> int:
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:2]) % 5


MEMBER = """
import sys
sys.path.insert(0, sys.argv[1])
from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.settings import load_settings
from test_event_log_subscriptions import handle_slowly
with connections.open_pool(load_settings()) as pool:
    print("ready", flush=True)
    EventStore(pool).subscription("race", shares=4, batch_events=7, poll_seconds=0.05).process(handle_slowly)
"""


@pytest.mark.prove
@pytest.mark.parametrize("seed", [1])
def test_a_group_loses_and_doubles_nothing_when_members_are_killed(
    store: EventStore, handled: ConnectionPool, database_settings: Settings, seed: int
) -> None:
    """Writers race, members of the group are killed -9 and replaced: each event is handled once, in order."""
    store.subscription("race", shares=4)
    done = threading.Event()
    writers = [
        threading.Thread(target=write, args=(database_settings, seed, number, done)) for number in range(WRITERS)
    ]
    members = {each.pid: each for each in (member(database_settings) for _ in range(2))}
    killed = 0
    try:
        for writer in writers:
            writer.start()
        while killed < KILLS:
            # Whoever has just handled a batch is most likely in the middle of the next one.
            count, newest = progress(handled)
            if count < (killed + 1) * EVENTS_PER_KILL or newest not in members:
                assert all(each.poll() is None for each in members.values())
                time.sleep(0.01)
                continue
            victim = members.pop(newest)
            victim.kill()
            victim.communicate()
            killed += 1
            replacement = member(database_settings)
            members[replacement.pid] = replacement
        done.set()
        for writer in writers:
            writer.join()
        expected = [each.position for each in store.read()]
        deadline = time.monotonic() + 60
        while len(positions(handled)) < len(expected) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        done.set()
        for each in members.values():
            each.kill()
            each.communicate()
    with handled.connection() as connection:
        disordered = connection.execute(
            "select count(*) from (select stream_version, lag(stream_version) over (partition by stream_id "
            "order by number) as before from read_models.handled) as h where stream_version <> before + 1"
        ).fetchone()
        workers = connection.execute("select count(distinct pid) from read_models.handled").fetchone()
    print(f"seed {seed}: {len(expected)} events, {killed} kills, {workers} processes handled them")  # noqa: T201
    assert sorted(positions(handled)) == expected
    assert disordered == (0,)
    assert workers is not None
    assert workers[0] > killed


def progress(pool: ConnectionPool) -> tuple[int, int]:
    """How many events have been handled, and which process handled the last."""
    with pool.connection() as connection:
        row = connection.execute("select number, pid from read_models.handled order by number desc limit 1").fetchone()
    return row or (0, 0)


def member(settings: Settings) -> subprocess.Popen[str]:
    assert settings.database_url is not None
    environment = {**os.environ, "PIPELINES_DATABASE_URL": settings.database_url.get_secret_value()}
    command = [sys.executable, "-c", MEMBER, str(Path(__file__).parent)]
    started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def write(settings: Settings, seed: int, number: int, done: threading.Event) -> None:
    chance = random.Random(f"{seed}/{number}")
    with connections.open_pool(settings) as pool:
        store = EventStore(pool)
        for count in itertools.count():
            if done.is_set():
                return
            stream = f"order-{chance.randrange(20)}"
            with pool.connection() as connection:
                connection.execute("select 'a transaction begins'")
                store.append("acme", stream, [event(f"{number}-{count}", stream)], connection=connection)
                time.sleep(chance.random() * 0.01)
                if chance.random() < 0.1:
                    connection.rollback()
            time.sleep(chance.random() * 0.05)
