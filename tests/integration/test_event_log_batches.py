"""Batches of many chunks, of which two are written at once: whatever happens to one, the log has them in order."""

from __future__ import annotations

import itertools
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import ConnectionPool

from analytics_pipelines import connections
from analytics_pipelines.event_log import BatchResult, EventStore, NewEvent, batch
from tests.integration.watched_sessions import assert_whole, ends_at, watched_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
CHUNK = 10
STREAMS = 3
SENDERS = 4
PATIENCE = 20
COPY, IDENTITIES, FORESEEN = "copy event_log.events", "insert into event_log.event_ids", "with moved"
CLAIM = "insert into event_log.event_ids (position, tenant_id, source, event_id) values (0, 'shop', 'test', %s)"
REFUSE_FIFTEEN = """
    create function public.refuse() returns trigger language plpgsql as $$
    begin
        raise exception 'no fifteen' using errcode = 'data_exception';
    end $$;
    create trigger refuse before insert on event_log.events
    for each row when (new.event_id = '15') execute function public.refuse();
"""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "CHUNK_EVENTS", CHUNK)


def paid(number: int, *, amount: object = 1, source: str = "test") -> NewEvent:
    """A payment; the streams share the numbers."""
    order = f"{number % STREAMS}"
    return NewEvent(source, f"{number}", f"order-{order}", "order_paid", NOON, {"order_id": order, "amount": amount})


def numbers(pool: ConnectionPool, source: str = "test") -> list[int]:
    """Return the numbers of a source's events, in order of position."""
    return [int(event.event_id) for event in EventStore(pool).read() if event.source == source]


def newest_position(pool: ConnectionPool) -> int:
    """Return the newest position that any writer was given, whether it has committed or not."""
    with pool.connection() as connection:
        row = connection.execute("select last_value from event_log.position_sequence").fetchone()
    assert row is not None
    return row[0]


def test_a_chunk_is_copied_while_the_one_before_ends_and_commits_after_it(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """While a chunk waits to commit, the next one takes its positions, and neither is seen before the first is."""
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(connections.database_url(database_settings), options=connections.RUNTIME_OPTIONS) as other,
    ):
        other.execute(CLAIM, ["5"])
        sent = threads.submit(EventStore(database).append_batch, "shop", [paid(number) for number in range(40)])
        until = time.monotonic() + PATIENCE
        while newest_position(database) < 2 * CHUNK and time.monotonic() < until:
            time.sleep(0.01)
        assert newest_position(database) == 2 * CHUNK
        assert not sent.done()
        assert other.execute("select count(*) from event_log.events").fetchone() == (0,)
        other.rollback()
        assert sent.result(PATIENCE) == BatchResult(40, 0, 0)
    assert numbers(database) == list(range(40))
    assert_whole(database, 40)


def test_a_chunk_whose_predecessor_fails_is_written_again_after_it(database: ConnectionPool) -> None:
    """Events that the log has make chunks begin again; the new ones still stand in the order they were sent."""
    store = EventStore(database)
    assert store.append_batch("shop", [paid(3), paid(24), paid(25)]) == BatchResult(3, 0, 0)
    sent = [*(paid(number) for number in range(24)), paid(24, amount=2), *(paid(number) for number in range(25, 50))]
    assert store.append_batch("shop", sent) == BatchResult(47, 2, 1)
    assert numbers(database)[3:] == [number for number in range(50) if number not in {3, 24, 25}]
    assert_whole(database, 50)


def test_what_the_chunk_before_has_is_known_while_that_one_is_written(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Events that come again in the next chunk are duplicates or conflicts, and no chunk is written twice for them."""
    sent = [
        paid(number, amount=2 if number == 12 and start > 5 else 1)
        for start in range(0, 50, 5)
        for number in range(start, start + CHUNK)
    ]
    copies: list[str] = []

    def count(_: psycopg.Connection, statement: str) -> None:
        if COPY in statement:
            copies.append(statement)

    with watched_pool(database_settings, count) as pool:
        assert EventStore(pool).append_batch("shop", sent) == BatchResult(55, 44, 1)
    assert len(copies) == len(sent) / CHUNK
    assert numbers(database) == list(range(55))
    assert_whole(database, 55)


def test_a_chunk_that_repeats_the_one_before_is_compared_with_it(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """A chunk of nothing new waits until what it repeats is in the log, and other content is found."""

    def delay(_: psycopg.Connection, statement: str) -> None:
        if IDENTITIES in statement:
            time.sleep(0.2)

    with watched_pool(database_settings, delay) as pool:
        sent = [*(paid(number) for number in range(CHUNK)), *(paid(number) for number in range(1, CHUNK))]
        assert EventStore(pool).append_batch("shop", [*sent, paid(0, amount=2)]) == BatchResult(10, 9, 1)
    assert_whole(database, 10)


def test_what_postgres_refuses_in_one_chunk_leaves_the_others_in_order(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """An event that Postgres alone refuses is found among its chunk's; the chunks before and after it are in order."""
    with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:
        admin.execute(REFUSE_FIFTEEN)
    result = EventStore(database).append_batch("shop", [paid(number) for number in range(60)])
    assert result == BatchResult(59, 0, 1)
    assert numbers(database) == [number for number in range(60) if number != 15]
    assert_whole(database, 59)
    with database.connection() as connection:
        kept = connection.execute("select event_id, kind, reason from event_log.quarantine").fetchall()
    assert kept == [("15", "invalid", "data: no fifteen")]


def test_another_writer_between_two_chunks_does_not_share_their_versions(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Whoever appends to a stream after a chunk was numbered and before it commits has it numbered again."""
    store, meddled, lock = EventStore(database), itertools.count(), Lock()

    def meddle(_: psycopg.Connection, statement: str) -> None:
        if FORESEEN in statement:
            with lock:
                store.append("shop", "order-1", [paid(1, source=f"meddler {next(meddled)}")])

    with watched_pool(database_settings, meddle) as pool:
        result = EventStore(pool).append_batch("shop", [paid(number) for number in range(60)])
    assert result == BatchResult(60, 0, 0)
    others = next(meddled)
    assert others > 0
    assert numbers(database) == list(range(60))
    assert_whole(database, 60 + others)


def test_after_a_slow_sender_the_next_chunk_is_numbered_by_the_log(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """A chunk that comes long after the one before foresees nothing: others may have used its streams."""
    store, copies = EventStore(database), itertools.count()

    def count(_: psycopg.Connection, statement: str) -> None:
        if COPY in statement:
            next(copies)

    def slow() -> Iterator[NewEvent]:
        for chunk in range(3):
            until = time.monotonic() + PATIENCE
            while len(numbers(database)) < chunk * CHUNK and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.1)
            store.append_many("shop", [paid(number, source=f"other {chunk}") for number in range(STREAMS)])
            yield from (paid(number) for number in range(chunk * CHUNK, (chunk + 1) * CHUNK))

    with watched_pool(database_settings, count) as pool:
        assert EventStore(pool).append_batch("shop", slow()) == BatchResult(30, 0, 0)
    assert next(copies) == 3
    assert_whole(database, 30 + 3 * STREAMS)


@pytest.mark.parametrize("sessions", [2, 3, 4])
def test_batches_that_share_a_small_pool_do_not_wait_for_each_other_in_vain(
    database_settings: Settings, sessions: int
) -> None:
    """Threads with fewer sessions than chunks get along: none holds a session while the chunk before has none."""
    few = database_settings.model_copy(update={"pool_size": sessions})
    with connections.open_pool(few) as pool, ThreadPoolExecutor(SENDERS) as threads:
        batches = [[paid(number, source=f"sender {sender}") for number in range(100)] for sender in range(SENDERS)]
        done = [threads.submit(EventStore(pool).append_batch, "shop", events) for events in batches]
        assert [sent.result(PATIENCE) for sent in done] == [BatchResult(100, 0, 0)] * SENDERS
        assert_whole(pool, SENDERS * 100)


def test_in_a_pool_of_two_a_session_is_left_to_seal_with(database: ConnectionPool, database_settings: Settings) -> None:
    """While a chunk waits for another writer longer than the pool has patience, the next one's values are sealed."""
    person = {"name": "Ann Lee", "email": "ann@x.example", "email_domain": "x.example"}
    kept = {"company_id": "1", "company": "X", "industry": "Energy", "company_size": 12, "lead_source": "referral"}
    leads = [
        NewEvent("test", f"{n}", f"lead-{n}", "lead_created", NOON, {"lead_id": f"{n}", **kept, **person})
        for n in range(40)
    ]
    url = connections.database_url(database_settings)
    arguments = {"options": connections.RUNTIME_OPTIONS}
    with (
        ConnectionPool(url, min_size=1, max_size=2, kwargs=arguments, timeout=1) as pool,
        ThreadPoolExecutor() as threads,
        psycopg.connect(url, options=connections.RUNTIME_OPTIONS) as other,
    ):
        other.execute(CLAIM, ["5"])
        sent = threads.submit(EventStore(pool).append_batch, "shop", leads)
        time.sleep(2)
        other.rollback()
        assert sent.result(PATIENCE) == BatchResult(40, 0, 0)
    assert numbers(database) == list(range(40))


def test_the_quarantine_has_events_in_the_order_they_were_sent(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """A chunk of which all is refused waits for the one before: a redrive puts them through in this order."""

    def delay(_: psycopg.Connection, statement: str) -> None:
        if IDENTITIES in statement:
            time.sleep(0.2)

    unknown = [NewEvent("test", f"{number}", "order-1", "order_payd", NOON, {}) for number in range(9, 40)]
    with watched_pool(database_settings, delay) as pool:
        sent = [*(paid(number) for number in range(9)), *unknown]
        assert EventStore(pool).append_batch("shop", sent) == BatchResult(9, 0, 31)
    with database.connection() as connection:
        kept = connection.execute("select event_id from event_log.quarantine order by quarantine_id").fetchall()
    assert [int(event_id) for (event_id,) in kept] == list(range(9, 40))


def test_after_a_chunk_that_is_never_written_nothing_is_quarantined_either(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Where the first chunk's session ends, the second leaves nothing behind; the error says what happened, alone."""

    def end(session: psycopg.Connection, statement: str) -> None:
        if IDENTITIES in statement:
            time.sleep(0.2)
            with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s, 5000)", [session.info.backend_pid])

    unknown = [NewEvent("test", f"{number}", "order-1", "order_payd", NOON, {}) for number in range(10, 20)]
    with watched_pool(database_settings, end) as pool, pytest.raises(psycopg.OperationalError) as caught:
        EventStore(pool).append_batch("shop", [*(paid(number) for number in range(10)), *unknown])
    error: BaseException | None = caught.value
    while error is not None:
        assert type(error).__module__.startswith("psycopg"), error
        error = error.__context__
    with database.connection() as connection:
        assert connection.execute("select count(*) from event_log.quarantine").fetchone() == (0,)
    assert_whole(database, 0)


def test_log_time_never_runs_backwards_in_a_batch(database: ConnectionPool, database_settings: Settings) -> None:
    """Whoever reads a stream as of a moment of log time finds no event without those before it."""
    first = itertools.count()

    def delay(_: psycopg.Connection, statement: str) -> None:
        if COPY in statement and next(first) == 0:
            time.sleep(0.3)

    with watched_pool(database_settings, delay) as pool:
        assert EventStore(pool).append_batch("shop", [paid(number) for number in range(40)]) == BatchResult(40, 0, 0)
    recorded = [event.recorded_at for event in EventStore(database).read()]
    assert recorded == sorted(recorded)


@pytest.mark.parametrize("cause", ["a known event", "another writer"])
def test_one_failed_attempt_does_not_part_the_whole_batch(
    database: ConnectionPool, database_settings: Settings, cause: str
) -> None:
    """After a chunk had to begin again, those that follow are written once, beside each other."""
    store, copies, moves = EventStore(database), itertools.count(), itertools.count()
    is_known = cause == "a known event"
    if is_known:
        store.append_batch("shop", [paid(3)])

    def watch(_: psycopg.Connection, statement: str) -> None:
        if COPY in statement:
            next(copies)
        if FORESEEN in statement and next(moves) == 0 and not is_known:
            store.append_many("shop", [paid(number, source="meddler") for number in range(STREAMS)])

    with watched_pool(database_settings, watch) as pool:
        result = EventStore(pool).append_batch("shop", [paid(number) for number in range(200)])
    assert result == BatchResult(200 - is_known, int(is_known), 0)
    assert next(copies) <= 200 // CHUNK + 2
    assert next(moves) > 200 // CHUNK / 2
    assert_whole(database, 200 + (0 if is_known else STREAMS))


def test_a_lock_on_the_identities_does_not_stop_a_batch_for_ever(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """DDL comes through between a chunk that does not look its events up and the next one, which does."""
    claims, locking = itertools.count(1), []
    events = [paid(number) for number in range(60)]
    events[5] = NewEvent("test", "5", "order-2", "order_payd", NOON, {})  # from here on events are looked up

    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(connections.admin_url(database_settings)) as admin,
        psycopg.connect(connections.admin_url(database_settings), autocommit=True) as rescue,
    ):

        def lock() -> None:
            admin.execute("lock table event_log.event_ids")
            admin.rollback()

        def meddle(_: psycopg.Connection, statement: str) -> None:
            if IDENTITIES in statement and next(claims) == 2:
                time.sleep(1)  # the third chunk comes to where it waits
                locking.append(threads.submit(lock))
                time.sleep(0.5)

        with watched_pool(database_settings, meddle) as pool:
            sent = threads.submit(EventStore(pool).append_batch, "shop", events)
            try:
                assert sent.result(PATIENCE) == BatchResult(59, 0, 1)
            finally:
                rescue.execute("select pg_cancel_backend(%s)", [admin.info.backend_pid])
        assert len(locking) == 1
    assert_whole(database, 59)


def test_a_waiting_chunk_is_not_taken_for_an_idle_session(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """A server that ends sessions which are idle in a transaction lets a chunk wait for the one before."""
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(connections.database_url(database_settings), options=connections.RUNTIME_OPTIONS) as other,
        psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin,
    ):
        other.execute(CLAIM, ["5"])
        name = sql.Identifier(admin.info.dbname)
        admin.execute(sql.SQL("alter database {} set idle_in_transaction_session_timeout = 500").format(name))
        with watched_pool(database_settings, lambda *_: None) as pool:
            sent = threads.submit(EventStore(pool).append_batch, "shop", [paid(number) for number in range(40)])
            time.sleep(1.5)
            other.rollback()
            assert sent.result(PATIENCE) == BatchResult(40, 0, 0)
    assert_whole(database, 40)


def test_batches_enter_where_transactions_are_isolated_by_default(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """On a server whose transactions see a snapshot, chunks that share streams are written again, and all are."""
    with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        setting = "alter database {} set default_transaction_isolation = 'repeatable read'"
        admin.execute(sql.SQL(setting).format(name))
    with watched_pool(database_settings, lambda *_: None) as pool:
        assert EventStore(pool).append_batch("shop", [paid(number) for number in range(60)]) == BatchResult(60, 0, 0)
    assert numbers(database) == list(range(60))
    assert_whole(database, 60)


def test_a_crash_at_any_statement_of_a_batch_leaves_its_first_chunks(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Whichever statement a session ends at, the log has the first chunks whole, and sending it all again the rest."""
    sent = [paid(number) for number in range(50)]
    statements: list[str] = []
    with watched_pool(database_settings, lambda _, statement: statements.append(statement)) as pool:
        EventStore(pool).append_batch("shop", sent)
    assert sum(COPY in statement for statement in statements) == 50 // CHUNK  # none was written twice
    left: list[int] = []
    for statement in range(1, len(statements) + 1):
        tenant = f"shop-{statement}"
        with (
            watched_pool(database_settings, ends_at(statement, database_settings)) as dying,
            suppress(psycopg.OperationalError),
        ):
            EventStore(dying).append_batch(tenant, sent)
        stored = [int(event.event_id) for event in EventStore(database).read(tenant_id=tenant)]
        assert stored == list(range(len(stored)))
        assert len(stored) % CHUNK == 0
        left.append(len(stored))
        assert EventStore(database).append_batch(tenant, sent) == BatchResult(50 - len(stored), len(stored), 0)
    assert {0, 10, 20, 30, 40} <= set(left)
    assert_whole(database, 50 * (len(left) + 1))


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(20 if "PROVE" in os.environ else 2))
def test_senders_that_share_streams_and_events_keep_their_order(
    database: ConnectionPool, database_settings: Settings, seed: int
) -> None:
    """Batches sent at once, to the same streams and partly of the same events, lose, double and reorder nothing."""
    chance = random.Random(seed)
    shared = [paid(number, source="shared") for number in range(60)]
    batches: list[list[NewEvent]] = []
    for sender in range(SENDERS):
        own = [paid(number, source=f"sender {sender}") for number in range(200)]
        for event in shared:  # in the same order in each batch, at places of its own
            if chance.random() < 0.7:
                own.insert(chance.randrange(len(own)), event)
        batches.append(own)

    def send(events: list[NewEvent]) -> BatchResult:
        with connections.open_pool(database_settings) as pool:
            return EventStore(pool).append_batch("shop", events)

    with ThreadPoolExecutor() as threads:
        results = list(threads.map(send, batches))
    for sender, (result, events) in enumerate(zip(results, batches, strict=True)):
        assert result.sent == len(events)
        assert result.quarantined == 0
        assert numbers(database, f"sender {sender}") == list(range(200))
    common = {event.event_id for events in batches for event in events if event.source == "shared"}
    assert sorted(numbers(database, "shared")) == sorted(map(int, common))
    assert_whole(database, SENDERS * 200 + len(common))
