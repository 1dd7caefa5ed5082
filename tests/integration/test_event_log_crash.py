"""What crashes, repeats and hostile payloads leave in the log."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_pipelines.event_log import (
    ConcurrencyError,
    EventStore,
    InvalidEventError,
    Malformed,
    NewEvent,
    batch,
    quarantine,
    writing,
)
from analytics_pipelines.event_log.vault import Vault
from analytics_pipelines.settings import PROJECT_FOLDER
from tests.integration.watched_sessions import assert_whole, ends_at, watched_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def paid(number: int, *, amount: object = 1, stream: int | None = None) -> NewEvent:
    """A payment; three streams share the numbers."""
    order = f"{number % 3 if stream is None else stream}"
    data = {"order_id": order, "amount": amount}
    return NewEvent("test", f"payment-{number}", f"order-{order}", "order_paid", NOON, data)


def test_a_crash_at_any_statement_of_a_batch_leaves_all_or_nothing(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Whichever statement the server ends at, sending the batch again completes it: each event once, nothing torn."""
    EventStore(database).append_batch("shop", [paid(number) for number in range(30)])
    sent = [
        *(paid(number) for number in range(20, 60)),
        paid(1, amount=2),
        NewEvent("test", "unknown", "order-1", "order_payd", NOON, {}),
    ]
    crashes = 0
    for statement in itertools.count(1):
        try:
            with watched_pool(database_settings, ends_at(statement, database_settings)) as dying:
                writing.append_prepared(dying, Vault(), "shop", batch.prepare(list(sent), lambda _: []))
        except psycopg.OperationalError:
            crashes += 1
            assert_whole(database, 30)
            continue
        break
    # Partitions, look-ups, heads, newest position, COPY, identities, conflicts; the quarantine's key, made and read
    # back; quarantine, and what of it was dismissed.
    assert crashes == 15
    assert_whole(database, 60)
    again = EventStore(database).append_batch("shop", sent)
    assert (again.accepted, again.duplicates, again.quarantined) == (0, 40, 2)
    assert_whole(database, 60)
    with database.connection() as connection:
        kinds = connection.execute("select kind from event_log.quarantine order by kind").fetchall()
    assert kinds == [("conflict",), ("unknown_type",)]


WRITER = """
from datetime import UTC, datetime
from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.settings import load_settings

def paid(number):
    data = {"order_id": "1", "amount": 1}
    return NewEvent("test", f"{number}", f"order-{number % 3}", "order_paid", datetime(2017, 6, 1, tzinfo=UTC), data)

with connections.open_pool(load_settings()) as pool:
    store = EventStore(pool)
    print("ready", flush=True)
    for start in range(0, 2000, 50):
        append = store.append_batch if start % 100 else store.append_many
        append("shop", [paid(number) for number in range(start, start + 50)])
"""


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(10 if "PROVE" in os.environ else 1))
def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(
    database: ConnectionPool, database_settings: Settings, seed: int
) -> None:
    """After kill -9 of a writer, again and again, what is sent again is in the log once, in order, without a hole."""
    assert database_settings.database_url is not None
    environment = {
        **os.environ,
        "PIPELINES_DATABASE_URL": database_settings.database_url.get_secret_value(),
        "PYTHONPATH": str(PROJECT_FOLDER),
    }
    chance = random.Random(seed)
    for attempt in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER], env=environment, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        if attempt < 2:
            time.sleep(chance.random() * 0.3)
            writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert writer.returncode == 0
    assert_whole(database, 2_000)


IDENTITIES = st.integers(0, 9)
EVENTS = st.builds(lambda number, amount: paid(number, amount=amount), IDENTITIES, st.sampled_from([1, 1, 1, 2]))
CALLS = st.one_of(
    st.tuples(st.just("append_batch"), st.lists(EVENTS, max_size=12), st.none()),
    st.tuples(st.just("append_many"), st.lists(EVENTS, min_size=1, max_size=4), st.none()),
    st.tuples(st.just("append"), st.lists(EVENTS, min_size=1, max_size=3), st.none() | st.integers(0, 3)),
)


class Model:
    """The log as one would write it down on paper."""

    def __init__(self) -> None:
        """Begin empty."""
        self.events: list[NewEvent] = []

    def known(self, event: NewEvent) -> NewEvent | None:
        """Return what the log has under the event's id."""
        return next((stored for stored in self.events if stored.event_id == event.event_id), None)

    def version(self, stream_id: str) -> int:
        """Return how many events a stream has."""
        return sum(stored.stream_id == stream_id for stored in self.events)

    def append_batch(self, events: list[NewEvent]) -> tuple[int, int, int]:
        """Take what is new; count accepted, duplicates and conflicts."""
        counts = [0, 0, 0]
        for event in events:
            known = self.known(event)
            counts[0 if known is None else 1 if known == event else 2] += 1
            if known is None:
                self.events.append(event)
        return counts[0], counts[1], counts[2]

    def append(self, events: list[NewEvent], expected: int | None) -> str:
        """Take all or none; say how it ended."""
        if len({event.event_id for event in events}) < len(events):
            return "invalid"
        if expected is not None and len({event.stream_id for event in events}) > 1:
            return "invalid"
        if any(self.known(event) not in (None, event) for event in events):
            return "invalid"
        fresh = [event for event in events if self.known(event) is None]
        if fresh and expected not in {None, self.version(events[0].stream_id)}:
            return "concurrency"
        self.events += fresh
        return "appended"


@given(calls=st.lists(CALLS, max_size=12))
@settings(
    max_examples=300 if "PROVE" in os.environ else 40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_sequence_of_calls_gives_the_log_of_the_model(
    database: ConnectionPool,
    monkeypatch: pytest.MonkeyPatch,
    calls: list[tuple[str, list[NewEvent], int | None]],
) -> None:
    """Any calls, with repeats and conflicts, leave the same log as the same calls on paper, and end the same way."""
    monkeypatch.setattr(batch, "CHUNK_EVENTS", 2)  # so that a batch has chunks, two of which are written at once
    with database.connection() as connection:
        row = connection.execute("select count(distinct tenant_id) from event_log.streams").fetchone()
    assert row is not None
    tenant = f"tenant-{row[0]}"
    store, model = EventStore(database), Model()
    for name, events, expected in calls:
        if name == "append_batch":
            done = store.append_batch(tenant, events)
            assert (done.accepted, done.duplicates, done.quarantined) == model.append_batch(events)
            continue
        one_stream = name == "append"
        sent = [event for event in events if not one_stream or event.stream_id == events[0].stream_id]
        try:
            if one_stream:
                version = store.append(tenant, sent[0].stream_id, sent, expected_version=expected)
            else:
                version = store.append_many(tenant, sent)[sent[0].stream_id]
            outcome = "appended"
        except ConcurrencyError:
            outcome = "concurrency"
        except InvalidEventError:
            outcome = "invalid"
        assert outcome == model.append(sent, expected if one_stream else None)
        if outcome == "appended":
            assert version == model.version(sent[0].stream_id)
    stored = [(event.event_id, event.stream_id, event.data) for event in store.read(tenant_id=tenant)]
    assert stored == [(event.event_id, event.stream_id, event.data) for event in model.events]
    for stream in {event.stream_id for event in model.events}:
        versions = [event.stream_version for event in store.read(tenant_id=tenant, stream_id=stream)]
        assert versions == list(range(1, model.version(stream) + 1))


TEXTS = st.text(st.characters(), max_size=8)  # with NUL and lone surrogates
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
DEEP = 600


@given(values=st.lists(JSON_VALUES, max_size=8))
@settings(
    max_examples=300 if "PROVE" in os.environ else 40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_payload_is_kept_as_it_is_or_refused_with_a_reason(database: ConnectionPool, values: list[Any]) -> None:
    """A payload is stored as the same JSON value, or quarantined because its text cannot be stored: nothing else."""
    store = EventStore(database)
    after = store.settled_position()
    sent = {
        str(after * 100 + number): {"order_id": "1", "amount": 1, "note": value} for number, value in enumerate(values)
    }
    events = [NewEvent("hostile", name, "order-1", "order_paid", NOON, json.dumps(data)) for name, data in sent.items()]
    refused = {name for name, data in sent.items() if any(_is_unstorable(text) for text in _texts(data))}
    with database.connection() as connection:
        connection.execute("create temporary table before as select quarantine_id from event_log.quarantine")
        result = store.append_batch("shop", events)
        reasons = connection.execute(
            "select event_id, reason from event_log.quarantine where quarantine_id not in (select * from before)"
        ).fetchall()
        connection.rollback()
    assert (result.accepted, result.quarantined) == (len(sent) - len(refused), len(refused))
    assert {event.event_id: event.data for event in store.read(after=after)} == {
        name: data for name, data in sent.items() if name not in refused
    }
    assert all("surrogate" in reason for name, reason in reasons if name in refused)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in itertools.chain(value, value.values()):
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _is_unstorable(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def test_large_and_strange_payloads_keep_their_value(store: EventStore) -> None:
    """Ten megabytes, text in two directions, control characters, long numbers and deep nesting come back as sent."""
    deep = "[" * DEEP + "]" * DEEP
    texts = {
        "ten megabytes": json.dumps("x" * 10_000_000),
        "two directions": json.dumps("\u202eabc\u2066\u05d0\u05d1\u2069\u200f"),
        "control characters": json.dumps("".join(map(chr, range(1, 32))) + "\x7f\u2028\\N\\."),
        "a thousand digits": "9" * 1_000,
        "a thousand places": "0." + "0" * 999 + "1",
        "deep": deep,
        "an empty key": '{"": {"": 1}}',
    }
    events = [
        NewEvent("strange", name, "order-1", "order_paid", NOON, f'{{"order_id": "1", "amount": 1, "note": {text}}}')
        for name, text in texts.items()
    ]
    invalid = NewEvent("strange", "not UTF-8", "order-1", "order_paid", NOON, b'{"order_id": "\xff"}'.decode("latin-1"))
    result = store.append_batch("shop", [*events, invalid])
    stored = {event.event_id: event.data["note"] for event in store.read()}
    assert (result.accepted, result.quarantined) == (len(stored), len(events) + 1 - len(stored))
    assert set(texts) - set(stored) <= {"deep"}  # refused by the parser where it counts levels
    assert stored == {name: json.loads(texts[name], parse_float=Decimal) for name in stored}


def test_bytes_that_are_no_text_are_kept_with_the_reason(store: EventStore, database: ConnectionPool) -> None:
    """What is not UTF-8 is quarantined with its very bytes."""
    assert store.append_batch("shop", [Malformed(b"\xff\xfe{", "not UTF-8", "file:1")]).quarantined == 1
    with database.connection() as connection:
        [(quarantine_id,)] = connection.execute("select quarantine_id from event_log.quarantine").fetchall()
        kept = quarantine.entry(connection, "shop", quarantine_id)
    assert (kept["kind"], kept["bytes"]) == ("malformed", b"\xff\xfe{")
