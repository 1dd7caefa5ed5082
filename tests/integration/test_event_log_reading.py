"""Reading the log gives exactly what was appended: as objects, as Arrow, by stream, as of a moment, as lines."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from analytics_pipelines import connections
from analytics_pipelines.event_log import Event, EventStore, NewEvent, reading

if TYPE_CHECKING:
    from analytics_pipelines.settings import Settings
    from tests.integration.conftest import AssetRuns  # pyright: ignore[reportMissingImports]

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
TYPES = ("order_paid", "order_shipped", "order_delivered")
SAME = [name.name for name in fields(NewEvent) if name.name not in {"data", "origin", "raw"}]
TENANTS = itertools.count()
EXAMPLES = 300 if "PROVE" in os.environ else 25


def event(number: int, stream: str = "order-1", event_type: str = "order_paid", **changes: Any) -> NewEvent:
    data = {"order_id": stream, "amount": Decimal("1.50")}
    return NewEvent(
        "test", str(number), stream, event_type, changes.pop("at", NOON + timedelta(seconds=number)), data, **changes
    )


def numbers(events: Any) -> list[int]:
    return [int(each.event_id) for each in events]


@pytest.fixture
def story(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> list[NewEvent]:
    """Sixty events of two tenants, three types and four streams, read seven at a time."""
    monkeypatch.setattr(reading, "READ_BATCH", 7)
    monkeypatch.setattr(reading.read_batches, "__kwdefaults__", {"backward": False, "batch_events": 7})
    events = [event(number, f"order-{number % 4}", TYPES[number % 3]) for number in range(60)]
    for start in range(0, 60, 10):
        store.append_batch("even", events[start : start + 10 : 2])
        store.append_batch("odd", events[start + 1 : start + 10 : 2])
    return sorted(events, key=lambda each: (int(each.event_id) // 10, int(each.event_id) % 2, int(each.event_id)))


def test_every_selection_gives_its_events_in_order(store: EventStore, story: list[NewEvent]) -> None:
    """Whatever is chosen, through whichever index: exactly the events that fit, in order of position, or reversed."""
    tenants = [None, "even", "odd"]
    some_types = [None, [], ["order_paid"], ["order_shipped", "order_paid", "order_paid"]]
    for tenant, types, stream, backward in itertools.product(tenants, some_types, [None, "order-2"], [False, True]):
        expected = [
            int(each.event_id)
            for each in story
            if (tenant is None or (int(each.event_id) % 2 == 0) == (tenant == "even"))
            and (types is None or each.event_type in types)
            and (stream is None or each.stream_id == stream)
        ]
        chosen: Any = {"tenant_id": tenant, "event_types": types, "stream_id": stream}
        found = list(store.read(**chosen, backward=backward))
        assert numbers(found) == (expected[::-1] if backward else expected), chosen
        positions = sorted(each.position for each in found)
        if len(found) > 2:
            within = store.read(**chosen, after=positions[0], up_to=positions[-2], backward=backward)
            assert sorted(each.position for each in within) == positions[1:-1], chosen
        if not backward:
            batches = list(store.read_arrow(**chosen, batch_events=7))
            assert [int(name) for batch in batches for name in batch.column("event_id").to_pylist()] == expected, chosen


def test_a_tenant_whose_events_lie_far_apart_is_read_whole(store: EventStore) -> None:
    """However many positions of others lie between two events of a tenant, none is passed over or comes twice."""
    store.append_batch("rare", [event(0), event(1)])
    store.append_batch("busy", [event(number) for number in range(100)])
    store.append_batch("rare", [event(2)])
    store.append_batch("busy", [event(number) for number in range(100, 107)])
    store.append_batch("rare", [event(3), event(4), event(5)])
    store.append_batch("busy", [event(number) for number in range(107, 200)])
    places = [each.position for each in store.read(event_types=["order_paid"]) if each.tenant_id == "rare"]
    for after, size in itertools.product(range(0, 112, 3), (1, 2)):
        expected = [place for place in places if place > after]
        for backward in (False, True):
            batches = list(store.read_batches(tenant_id="rare", after=after, batch_events=size, backward=backward))
            found = [each.position for each in itertools.chain(*batches)]
            assert found == (expected[::-1] if backward else expected)
            assert all(batches)
        arrow = store.read_arrow(tenant_id="rare", after=after, batch_events=size)
        assert [place for batch in arrow for place in batch.column("position").to_pylist()] == expected


def test_batches_hold_no_more_than_asked_for(store: EventStore, story: list[NewEvent]) -> None:
    """`read_batches` gives the same events as `read`, in lists of at most so many."""
    batches = list(store.read_batches(batch_events=25))
    assert [len(batch) for batch in batches] == [25, 25, 10]
    assert [each for batch in batches for each in batch] == list(store.read())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), values, max_size=3
        )
    ),
    max_leaves=8,
)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50)
TIMES = st.datetimes(datetime(1900, 1, 2), datetime(2026, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given one


def as_json(value: Any) -> str:
    """Write JSON with every digit of its numbers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {as_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_json(item) for item in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def is_same(one: Any, other: Any) -> bool:
    """Compare JSON values: 1 is 1.0, but true is not 1; the order of names does not count."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and not isinstance(one, float) and one == other


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sent=st.lists(
        st.builds(
            NewEvent,
            source=NAMES,
            event_id=st.uuids().map(str),
            stream_id=NAMES,
            event_type=st.sampled_from(TYPES),
            occurred_at=TIMES,
            data=JSON.map(lambda value: as_json({"order_id": "1", "amount": 1, "more": value})),
            sequence=st.integers(-(2**62), 2**62),
            correlation_id=st.none() | NAMES,
            causation_id=st.none() | NAMES,
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda each: each.event_id,
    )
)
def test_reading_returns_exactly_what_was_appended(store: EventStore, sent: list[NewEvent]) -> None:
    """Every field and every number of every payload comes back with its value, as objects and as Arrow."""
    after = store.settled_position()
    assert store.append_batch(f"acme-{next(TENANTS)}", sent).accepted == len(sent)
    found = list(store.read(after=after))
    for each, read in zip(sent, found, strict=True):
        assert [getattr(read, name) for name in SAME] == [getattr(each, name) for name in SAME]
        assert is_same(read.data, json.loads(str(each.data), parse_float=Decimal))
    rows = [row for batch in store.read_arrow(after=after) for row in batch.to_pylist()]
    assert rows == [{**dict(zip(Event._fields[:-1], read[:-1], strict=True)), "data": read.data_json} for read in found]


def test_a_long_row_ends_a_batch_of_arrow(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are bounded by bytes, too, and nothing is lost where one ends early."""
    store.append_batch("acme", [event(number) for number in range(20)])
    monkeypatch.setattr(reading, "MOST_BYTES", 500)
    batches = list(store.read_arrow())
    assert len(batches) > 3
    assert [name for batch in batches for name in batch.column("event_id").to_pylist()] == [str(n) for n in range(20)]
    assert list(store.read_arrow(event_types=["order_shipped"])) == []


def test_arrow_is_read_from_the_pools_server_in_utf_8(
    database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions may have another encoding, and part of the address from the environment, which changes."""
    at = conninfo_to_dict(connections.database_url(database_settings))
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    monkeypatch.setenv("PGPORT", str(at.pop("port")))
    with ConnectionPool(make_conninfo(**at, options=connections.RUNTIME_OPTIONS), min_size=1, max_size=1) as pool:
        pool.wait()
        monkeypatch.setenv("PGPORT", "1")
        store = EventStore(pool)
        for number, name in enumerate(("straße", "Ã¶")):
            store.append("acme", name, [event(number, name)])
            (batch,) = store.read_arrow(tenant_id="acme", stream_id=name)
            assert batch.column("stream_id").to_pylist() == [name]


def test_no_session_outlives_a_reading_as_arrow(store: EventStore, database_settings: Settings) -> None:
    """Read to the end or given up, a reading as Arrow leaves none of its sessions behind."""
    store.append_batch("acme", [event(number) for number in range(20)])
    with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:

        def sessions() -> tuple[int] | None:
            copying = "query ilike 'copy (select position%' and datname = current_database()"
            return admin.execute(f"select count(*)::integer from pg_stat_activity where {copying}".encode()).fetchone()

        given_up = store.read_arrow(batch_events=7)
        assert next(given_up).num_rows == 7
        assert sessions() == (1,)
        given_up.close()
        assert [batch.num_rows for batch in store.read_arrow(batch_events=7)] == [7, 7, 6]
        deadline = time.monotonic() + 30
        while sessions() != (0,):
            assert time.monotonic() < deadline, sessions()
            time.sleep(0.01)


def test_a_stream_is_read_in_order_of_version(store: EventStore, story: list[NewEvent]) -> None:
    """A stream comes whole and in order, from a version on, backward, and with what has not settled yet."""
    assert [each.stream_version for each in store.read_stream("even", "order-2")] == list(range(1, 16))
    assert [each.stream_version for each in store.read_stream("even", "order-2", from_version=4)] == list(range(4, 16))
    back = [each.stream_version for each in store.read_stream("even", "order-2", from_version=4, backward=True)]
    assert back == list(range(15, 3, -1))
    assert list(store.read_stream("odd", "order-2")) == []


def test_a_stream_as_of_a_moment_knows_nothing_later(store: EventStore) -> None:
    """As of event time: what had occurred, in its order; as of log time: what was recorded, in order of arrival."""
    hour = timedelta(hours=1)
    late = [event(3, at=NOON + 3 * hour), event(1, at=NOON + hour), event(21, at=NOON + 2 * hour, sequence=1)]
    store.append("acme", "order-1", late)
    recorded = max(each.recorded_at for each in store.read())
    time.sleep(0.01)
    store.append("acme", "order-1", [event(20, at=NOON + 2 * hour)])

    def seen(**moments: Any) -> list[int]:
        return numbers(store.read_stream("acme", "order-1", **moments))

    assert seen() == [3, 1, 21, 20]
    assert seen(as_of=NOON + 2 * hour) == [1, 20, 21]
    assert seen(as_of=NOON + 2 * hour, backward=True) == [21, 20, 1]
    assert seen(as_of=NOON + 9 * hour, from_version=2) == [1, 20, 21]
    assert seen(as_of=NOON + 9 * hour) == [1, 20, 21, 3]
    assert seen(as_of_log_time=recorded) == [3, 1, 21]
    assert seen(as_of=NOON + 2 * hour, as_of_log_time=recorded) == [1, 21]


INSERT = """
    insert into event_log.events (tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version,
        occurred_at, data)
    values ('race', 'slow', '1', 'order-9', 1, 'order_paid', 1, now(), '{}')
"""


def test_who_holds_the_cursor_back_is_named(
    store: EventStore,
    database: ConnectionPool,
    database_settings: Settings,
    asset_runs: AssetRuns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A transaction that appended and stays open is named with its process, age and query: in status and as a check."""
    from dagster import AssetSelection

    from analytics_pipelines.event_log import assets, checks, statistics
    from analytics_pipelines.local import platform

    assert store.open_writers() == []
    with database.connection() as slow:
        slow.execute(INSERT)
        slow.execute("select 'still busy'")
        (writer,) = store.open_writers()
        assert writer.pid == slow.info.backend_pid
        assert writer.seconds is not None
        assert 0 <= writer.seconds < 60
        assert "still busy" in str(writer)
        status = platform.status(database_settings).as_json()
        assert [each["pid"] for each in status["writers"]] == [writer.pid]
        definitions = [*assets.after([]), checks.no_writer_holds_the_cursor_back]
        selection = AssetSelection.checks(checks.no_writer_holds_the_cursor_back)
        assert asset_runs.broken(asset_runs.run(definitions, selection)) == set()
        monkeypatch.setattr(statistics, "SLOW_SECONDS", -1)
        assert asset_runs.broken(asset_runs.run(definitions, selection)) == {"no_writer_holds_the_cursor_back"}
    store.settled_position()
    assert store.open_writers() == []


def tail(settings: Settings, *options: str, **popen: Any) -> subprocess.Popen[str]:
    assert settings.database_url is not None
    environment = {**os.environ, "PIPELINES_DATABASE_URL": settings.database_url.get_secret_value()}
    command = [sys.executable, "-m", "analytics_pipelines.cli", "events", "tail", *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_tail_prints_exact_lines_that_can_be_ingested(store: EventStore, database_settings: Settings) -> None:
    """Each line is one CloudEvent; read back as a file it is the event that was appended, every digit kept."""
    from analytics_pipelines.event_log.cloud_events import exact_json, parse_event

    sent = [event(number, f"order-{number}", correlation_id="why") for number in range(20)]
    store.append_batch("acme", sent)
    out, err = tail(database_settings, "--after", "0", "--limit", "3").communicate(timeout=60)
    assert err == ""
    lines = out.splitlines()
    read = [parse_event(line.encode(), "line") for line in lines]
    assert (
        [(each.event_id, exact_json(each.data.encode()), each.occurred_at, each.correlation_id) for each in read]
        == [  # type: ignore[union-attr]
            (each.event_id, each.data, each.occurred_at, each.correlation_id) for each in sent[:3]
        ]
    )
    assert '"amount": 1.50' in lines[0]
    out, _ = tail(database_settings, "--tenant", "acme", "--type", "order_paid", "--limit", "2").communicate(timeout=60)
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["18", "19"]


@pytest.mark.parametrize("end", ["interrupt", "closed pipe"])
def test_tail_follows_and_ends_cleanly(store: EventStore, database_settings: Settings, end: str) -> None:
    """With --follow new events are printed as they settle; Ctrl-C and a closed pipe end it without an error."""
    store.append_batch("acme", [event(1)])
    process = tail(database_settings, "--follow")
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        assert json.loads(process.stdout.readline())["id"] == "1"
        store.append_batch("acme", [event(2)])
        assert json.loads(process.stdout.readline())["id"] == "2"
        if end == "interrupt":
            process.send_signal(signal.SIGINT)
        else:
            process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == ""


def test_tail_says_that_it_waits_for_a_tenant_of_which_nothing_is_known(
    store: EventStore, database_settings: Settings
) -> None:
    """A misspelt name is no silence; what the tenant sends later is printed."""
    store.append_batch("acme", [event(1)])
    process = tail(database_settings, "--follow", "--tenant", "later")
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        said = "tenant 'later' has no events; correct the name, or wait: what it sends is printed\n"
        assert process.stderr.readline() == said
        store.append_batch("later", [event(2)])
        assert json.loads(process.stdout.readline())["id"] == "2"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
