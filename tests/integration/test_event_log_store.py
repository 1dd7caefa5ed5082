"""The log keeps what it promises, on a real Postgres."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import ConcurrencyError, EventStore, InvalidEventError, Malformed, NewEvent
from analytics_pipelines.event_log.command_handling import Aggregate

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def paid(number: int, *, amount: object = Decimal("1.50"), order: str | None = None) -> NewEvent:
    """An `order_paid` event; three orders share the numbers."""
    order = order or f"{number % 3}"
    data = {"order_id": order, "amount": amount}
    return NewEvent("test", f"payment-{number}", f"order-{order}", "order_paid", NOON + timedelta(seconds=number), data)


def _nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


def test_whole_numbers_of_any_size_keep_every_digit(store: EventStore) -> None:
    """A number beyond 64 bits is neither rounded nor refused."""
    big = Decimal(2**80 + 1)
    store.append_batch("shop", [paid(1, amount=big)])
    assert [event.data["amount"] for event in store.read()] == [2**80 + 1]


def test_sending_a_batch_again_changes_nothing(store: EventStore) -> None:
    """An event is accepted once, however often it is sent, also twice in one batch."""
    batch = [paid(number) for number in range(50)]
    first = store.append_batch("shop", [*batch, *batch[:10]])
    assert (first.accepted, first.duplicates, first.quarantined) == (50, 10, 0)
    again = store.append_batch("shop", reversed(batch))
    assert (again.accepted, again.duplicates, again.quarantined) == (0, 50, 0)
    assert len(list(store.read())) == 50


def test_the_same_identity_with_other_content_is_kept_as_a_conflict(
    store: EventStore, database: ConnectionPool
) -> None:
    """Other content under a known identity never replaces what the log has: it is quarantined."""
    store.append_batch("shop", [paid(1)])
    result = store.append_batch("shop", [paid(1, amount=Decimal(2))])
    assert (result.accepted, result.duplicates, result.quarantined) == (0, 0, 1)
    assert [event.data["amount"] for event in store.read()] == [Decimal("1.50")]
    with database.connection() as connection:
        rows = connection.execute("select kind, event_id from event_log.quarantine").fetchall()
    assert rows == [("conflict", "payment-1")]


def test_equal_json_values_are_the_same_content(store: EventStore) -> None:
    """1.5 and 1.50 are one JSON number, and the order of keys says nothing."""
    store.append_batch("shop", [paid(1)])
    same = NewEvent(
        "test", "payment-1", "order-1", "order_paid", paid(1).occurred_at, '{"amount": 1.5, "order_id": "1"}'
    )
    assert store.append_batch("shop", [same]).duplicates == 1


def test_what_cannot_be_stored_is_quarantined_and_the_rest_is_accepted(
    store: EventStore, database: ConnectionPool
) -> None:
    """Hostile payloads are refused with a reason, one by one; their neighbours enter the log."""
    fine = '{"order_id": "1", "amount": 1}'
    hostile: dict[str, Any] = {
        "nul": '{"order_id": "\\u0000", "amount": 1}',
        "half a surrogate pair": '{"order_id": "\\ud83d", "amount": 1}',
        "a number beyond Postgres": '{"order_id": "1", "amount": 1, "note": -1e400000}',
        "no json": '{"order_id": ',
        "too deep": '{"order_id": "1", "amount": 1, "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "a wrong type": '{"order_id": "1", "amount": "much"}',
        "half a pair in an object": {"order_id": "\ud83d", "amount": 1},
        "an object too deep": {"order_id": "1", "amount": 1, "deep": _nested(600)},
        "an enormous exponent": {"order_id": "1", "amount": 1, "note": Decimal("1e999999999")},
        "no JSON value": {"order_id": "1", "amount": 1, "note": object()},
    }
    events: list[NewEvent | Malformed] = [
        NewEvent("test", name, "order-1", "order_paid", NOON, data) for name, data in hostile.items()
    ]
    events += [paid(number) for number in range(20)]
    events += [
        NewEvent("test", "unknown", "order-1", "order_payd", NOON, {}),
        NewEvent("test", "no zone", "order-1", "order_paid", datetime(2017, 1, 1), {}),  # noqa: DTZ001 - the point
        NewEvent("test", "tomorrow", "order-1", "order_paid", datetime.now(UTC) + timedelta(days=2), fine),
        NewEvent("test", "half \ud83d", "order-1", "order_paid", NOON, fine),
        Malformed(b"\xff\xfe", "not UTF-8 \ud83d\x00", "file.jsonl:7"),
        NewEvent(
            "test", "fine", "order-1", "order_paid", NOON, '{"order_id": "\\\\u0000 \\ud83d\\ude00", "amount": 1}'
        ),
    ]
    result = store.append_batch("shop", events)
    assert (result.accepted, result.duplicates, result.quarantined) == (21, 0, 15)
    assert result.sent == len(events)
    assert [event.data["order_id"] for event in store.read() if event.event_id == "fine"] == [
        "\\u0000 \N{GRINNING FACE}"
    ]
    with database.connection() as connection:
        kinds = dict(connection.execute("select coalesce(event_id, origin), kind from event_log.quarantine").fetchall())
    assert kinds == dict.fromkeys(hostile, "invalid") | {
        "unknown": "unknown_type",
        "no zone": "malformed",
        "tomorrow": "invalid",
        "half ?": "malformed",
        "file.jsonl:7": "malformed",
    }


@pytest.mark.parametrize("tenant", ["", "*", "My Shop/..", "t\x00", "x" * 3_500, "-t"])
def test_a_name_that_cannot_be_a_tenant_is_refused(store: EventStore, tenant: str) -> None:
    """A slip in a tenant's name is one clear line, not a tenant for ever."""
    with pytest.raises(PipelinesError, match="give 1 to 100 letters"):
        store.append_batch(tenant, [paid(1)])
    with pytest.raises(PipelinesError, match="give 1 to 100 letters"):
        store.append(tenant, "order-1", [paid(1)])


POISON = {
    "a whole number with a point": ("lead_created", {"company_size": 5.0}),
    "a whole number beyond 32 bits": ("lead_created", {"company_size": 3_000_000_000}),
    "a number as a text": ("order_paid", {"amount": "12"}),
    "a day as a number": ("campaign_launched", {"starts_on": 1496275200}),
    "a day as digits": ("campaign_launched", {"starts_on": "1496275200"}),
    "a day that is none": ("campaign_launched", {"starts_on": "2017-02-31"}),
}
UNREADABLE = {
    "a forged seal": '"x": {"$encrypted": "v1"}',
    "a forged seal in disguise": '"x": {"\\u0024encrypted": "v1", "subject": "lead-1", "value": "AA"}',
    "a number of endless digits": '"x": 1e131000',
    "a number of endless zeros": '"x": 1e-15000',
    "more digits than Python reads": f'"x": {"9" * 4_301}',
    "more digits than Python reads, with an exponent": f'"x": [{"9" * 4_250}e51]',
    "more digits than Python reads, on both sides": f'"x": {"9" * 2_151}.{"9" * 2_150}',
    "a whole number beyond them": '"x":{"y":1E+4300}',
    "a fraction beyond them": '"x":{"y":-1e-4300}',
    "a number beyond every range": '"x": 1e9999999999999999999999',
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_would_stop_every_reader_never_enters_the_log(store: EventStore, name: str) -> None:
    """Some values can be stored and never read back: they are quarantined at the door, their neighbours are not."""
    text = f'{{"order_id": "1", "amount": 1, {UNREADABLE[name]}}}'
    poison = NewEvent("test", "poison", "order-1", "order_paid", NOON, text)
    said = NewEvent(
        "test", "said", "order-1", "order_paid", NOON, '{"order_id": "1", "amount": 1e2, "x": "$encrypted"}'
    )
    result = store.append_batch("shop", [paid(1), poison, said])
    assert (result.accepted, result.quarantined) == (2, 1)
    assert [event.event_id for event in store.read()] == ["payment-1", "said"]


def test_the_longest_numbers_are_read_by_everyone(store: EventStore, database: ConnectionPool) -> None:
    """Written out they have 4,300 digits, with or without an exponent: readers, aggregates and Postgres keep them."""
    texts = [f"{'9' * 4_300}", f"[{'9' * 4_250}e50]", f"{'9' * 2_150}.{'9' * 2_150}", "1e4299", "-1E-4299"]
    events = [
        NewEvent("test", f"{number}", "order-1", "order_paid", NOON, f'{{"order_id": "1", "amount": 1, "x": {text}}}')
        for number, text in enumerate(texts)
    ]
    assert store.append_batch("shop", events).accepted == len(texts)
    numbers = [json.loads(text, parse_float=Decimal) for text in texts]
    assert [event.data["x"] for event in store.read()] == numbers
    seen = Aggregate("seen", list, {"order_paid": lambda found, data: [*found, data["x"]]})
    with database.connection() as connection:
        assert seen.load(connection, "shop", "order-1")[0] == numbers


@dataclass
class Ratio:
    """A payload's value that is no dict."""

    value: float


@pytest.mark.parametrize("value", [nan, [{"y": -inf}], Ratio(nan), Decimal("NaN")], ids=repr)
def test_a_number_that_json_has_not_is_refused_not_lost(
    store: EventStore, database: ConnectionPool, value: object
) -> None:
    """NaN and Infinity are quarantined, never stored as null; nulls and finite numbers beside them are welcome."""
    fine = {"order_id": "1", "amount": 1, "x": None, "y": [1.5, None], "z": Ratio(1.5)}
    events = [NewEvent("test", "1", "order-1", "order_paid", NOON, data) for data in (fine, fine | {"x": value})]
    assert store.append_batch("shop", events[:1]).accepted == 1
    assert store.append_batch("shop", events[1:]).quarantined == 1
    with database.connection() as connection:
        reasons = connection.execute("select reason from event_log.quarantine").fetchall()
    assert reasons == [("data: NaN or Infinity is no JSON value",)]


def test_a_version_is_expected_of_streams_that_get_events(store: EventStore) -> None:
    """An expectation that nothing would check is a mistake of the caller, and said."""
    with pytest.raises(InvalidEventError, match="order-2, which gets no event"):
        store.append_many("shop", [paid(1)], expected_versions={"order-2": 5})


FINE: dict[str, dict[str, object]] = {
    "lead_created": {
        "lead_id": "1", "company_id": "1", "company": "c", "industry": "i", "company_size": 5, "lead_source": "s",
        "email_domain": "d",
    },
    "order_paid": {"order_id": "1", "amount": 1},
    "campaign_launched": {"campaign_id": "1", "name": "n", "channel": "email", "starts_on": "2017-01-01"},
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_what_a_projection_could_not_cast_never_enters_the_log(store: EventStore, name: str) -> None:
    """One such event would stop every read model for good: it is quarantined at the door."""
    event_type, change = POISON[name]
    fine = NewEvent("test", "fine", "x", event_type, NOON, FINE[event_type])
    poison = NewEvent("test", "poison", "x", event_type, NOON, FINE[event_type] | change)
    early = NewEvent("test", "early", "x", event_type, datetime(1, 1, 1, tzinfo=UTC), FINE[event_type])
    beyond = NewEvent("test", "beyond", "x", event_type, NOON, FINE[event_type], sequence=2**63 - 1)
    result = store.append_batch("shop", [fine, poison, early, beyond])
    assert (result.accepted, result.quarantined) == (1, 3)


def test_versions_count_within_a_stream_in_order_of_arrival(store: EventStore) -> None:
    """Every stream's events are numbered 1, 2, 3, over batches and single appends alike."""
    store.append_batch("shop", [paid(number) for number in range(9)])
    store.append("shop", "order-1", [paid(100, order="1")])
    store.append_batch("shop", [paid(number) for number in range(6, 15)])
    for stream in ("order-0", "order-1", "order-2"):
        versions = [event.stream_version for event in store.read(stream_id=stream)]
        assert versions == list(range(1, len(versions) + 1))


def test_appending_with_an_expected_version_fails_when_another_was_first(store: EventStore) -> None:
    """A writer that decided on an old version appends nothing and is told which version there is."""
    assert store.append("shop", "order-9", [paid(1, order="9")], expected_version=0) == 1
    with pytest.raises(ConcurrencyError, match="is at version 1, not 0"):
        store.append("shop", "order-9", [paid(2, order="9")], expected_version=0)
    assert [event.event_id for event in store.read()] == ["payment-1"]


def test_a_repeated_append_is_passed_over(store: EventStore) -> None:
    """A retry after a lost answer neither fails nor appends twice, also with the version it expected then."""
    store.append("shop", "order-9", [paid(1, order="9")], expected_version=0)
    assert store.append("shop", "order-9", [paid(1, order="9")], expected_version=0) == 1


@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a transaction of the caller"])
def test_what_the_log_has_is_passed_over_beside_what_is_new(
    store: EventStore, database: ConnectionPool, *, within: bool
) -> None:
    """Known events among new ones of several streams move no version, and the new ones stand in the order given."""
    store.append_many("shop", [paid(number) for number in range(4)])
    sent = [paid(number) for number in (7, 1, 6, 5, 3, 9, 4, 8)]
    with database.connection() as connection:
        versions = store.append_many("shop", sent, connection=connection if within else None)
    assert versions == {"order-0": 4, "order-1": 3, "order-2": 3}
    after = [event.event_id for event in store.read()][4:]
    assert after == [f"payment-{number}" for number in (7, 6, 5, 9, 4, 8)]
    for stream in versions:
        assert [event.stream_version for event in store.read(stream_id=stream)] == [*range(1, versions[stream] + 1)]
    again = store.append_many("shop", sent, expected_versions={"order-0": 2, "order-1": 1, "order-2": 1})
    assert again == versions  # each expectation is the one of the first call
    with pytest.raises(ConcurrencyError, match="stream order-2 of shop is at version 3, not 1"):
        store.append_many("shop", [*sent, paid(11)], expected_versions={"order-2": 1})
    with pytest.raises(InvalidEventError, match="payment-5 is in the log with other content"):
        store.append_many("shop", [paid(12), paid(5, amount=Decimal(2))])
    assert len(list(store.read())) == 10


@pytest.mark.parametrize("count", [1, 2])
def test_a_repeated_append_in_a_transaction_of_the_caller_waits_for_nobody(
    store: EventStore, database: ConnectionPool, count: int
) -> None:
    """It has nothing to write: neither an open writer of the stream nor what was committed since stands in its way."""
    known = [paid(number, order="9") for number in range(count)]
    store.append("shop", "order-9", known)
    with database.connection() as writer, writer.transaction(), database.connection() as ours, ours.transaction():
        store.append("shop", "order-9", [paid(50, order="9")], connection=writer)
        ours.execute("set local lock_timeout = '2s'")
        assert store.append("shop", "order-9", known, connection=ours) == count
    with database.connection() as ours, ours.transaction():
        ours.execute("set transaction isolation level repeatable read")
        ours.execute("select from event_log.event_ids").fetchall()
        store.append("shop", "order-9", [paid(51, order="9")])
        assert store.append("shop", "order-9", known, connection=ours) == count + 1


class _Moment(datetime):
    """A datetime as pandas has it: of a class of its own."""


def test_a_moment_of_another_class_is_a_moment(store: EventStore) -> None:
    """What data frames give is taken as the moment that it is."""
    event = replace(paid(1), occurred_at=_Moment(2017, 6, 1, 12, tzinfo=UTC))
    assert store.append_batch("shop", [event]).accepted == 1
    assert [event.occurred_at for event in store.read()] == [NOON]


def test_a_batch_of_known_and_new_events_keeps_its_order(store: EventStore) -> None:
    """Events are taken for new until one is not: then the same chunk is written again without those the log has."""
    store.append_batch("shop", [paid(5), paid(2)])
    result = store.append_batch("shop", [paid(number) for number in range(9)])
    assert (result.accepted, result.duplicates, result.quarantined) == (7, 2, 0)
    assert [event.event_id for event in store.read()] == [f"payment-{n}" for n in (5, 2, 0, 1, 3, 4, 6, 7, 8)]


def test_an_invalid_event_is_refused_with_its_path(store: EventStore) -> None:
    """A single append that breaks a schema raises, names the field, and appends nothing."""
    with pytest.raises(InvalidEventError, match=r"data\.amount"):
        store.append("shop", "order-1", [paid(1), paid(2, amount=-1, order="1")])
    assert list(store.read()) == []


def test_runtime_sessions_cannot_change_the_log(store: EventStore, database: ConnectionPool) -> None:
    """No runtime session may update, delete or truncate events, choose a position, or alter the table."""
    store.append_batch("shop", [paid(1)])
    forbidden = [
        "update event_log.events set data = '{}'",
        "delete from event_log.events",
        "truncate event_log.events",
        "alter table event_log.events disable trigger all",
        "drop table event_log.events",
        "insert into event_log.events (position) values (7)",
        "update event_log.settled set position = 99",
        "select setval('event_log.position_sequence', 1)",
        "set role pipelines_log_owner",
    ]
    for statement in forbidden:
        with database.connection() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_reading_filters_by_tenant_type_and_stream(store: EventStore) -> None:
    """A reader gets what it asked for, in order of position."""
    store.append_batch("shop", [paid(number) for number in range(6)])
    store.append_batch("other", [paid(1)])
    assert len(list(store.read(tenant_id="shop"))) == 6
    assert len(list(store.read(event_types=["order_shipped"]))) == 0
    chosen = list(store.read(tenant_id="shop", stream_id="order-2", event_types=["order_paid"]))
    assert [event.event_id for event in chosen] == ["payment-2", "payment-5"]
    assert len(list(store.read(after=chosen[0].position, up_to=chosen[1].position))) == 3
