"""Commands: decided on the state of a stream, once, whoever else writes."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import ConcurrencyError, EventStore, InvalidEventError, NewEvent
from analytics_pipelines.event_log.command_handling import Aggregate, Fact, command_handler
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
EXAMPLE = re.compile(r"<!-- run by tests/integration/test_event_log_commands.py -->\n```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Account:
    """What an order was paid and given back, and each amount in turn."""

    balance: Decimal = Decimal(0)
    amounts: tuple[Decimal, ...] = ()


def _paid(account: Account, data: dict[str, Any]) -> Account:
    return Account(account.balance + data["amount"], (*account.amounts, Decimal(data["amount"])))


def _refunded(account: Account, data: dict[str, Any]) -> Account:
    return Account(account.balance - data["amount"], (*account.amounts, -Decimal(data["amount"])))


ACCOUNT = Aggregate("account", Account, {"order_paid": _paid, "order_refunded": _refunded}, snapshot_every=3)
ALWAYS_REPLAYED = replace(ACCOUNT, snapshot_every=None)


@command_handler(ACCOUNT)
def spend(account: Account, amount: Decimal) -> list[Fact]:
    """Give back an amount that is there."""
    if amount > account.balance:
        raise PipelinesError(f"only {account.balance} is left")
    return [_refund(amount)] if amount else []


@command_handler(ACCOUNT)
def receive(account: Account, amounts: list[Decimal]) -> list[Fact]:
    """Take payments."""
    return [Fact("order_paid", {"order_id": "1", "amount": amount}) for amount in amounts]


def _refund(amount: object) -> Fact:
    return Fact("order_refunded", {"order_id": "1", "amount": amount})


def _payment(number: int, amount: int = 1) -> NewEvent:
    return NewEvent("till", f"{number}", "order-1", "order_paid", NOON, {"order_id": "1", "amount": amount})


def _state(pool: ConnectionPool, aggregate: Aggregate[Any] = ACCOUNT) -> tuple[Any, int]:
    with pool.connection() as connection:
        return aggregate.load(connection, "shop", "order-1")


def _count(pool: ConnectionPool, table: str) -> int:
    with pool.connection() as connection:
        row = connection.execute(f"select count(*) from event_log.{table}").fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def test_a_command_appends_what_it_decided(database: ConnectionPool, store: EventStore) -> None:
    """The events carry the command's id as their cause, the correlation id, and an order among themselves."""
    done = receive(
        database,
        "shop",
        "order-1",
        [Decimal("1.10"), Decimal(2)],
        command_id="c",
        correlation_id="visit",
        occurred_at=NOON,
    )
    events = list(store.read())
    assert done.version == 2
    assert done.event_ids == tuple(event.event_id for event in events)
    assert [(event.causation_id, event.correlation_id, event.sequence) for event in events] == [
        ("c", "visit", 0),
        ("c", "visit", 1),
    ]
    assert _state(database) == (Account(Decimal("3.10"), (Decimal("1.10"), Decimal(2))), 2)


def test_the_same_command_again_returns_the_first_result(database: ConnectionPool) -> None:
    """A command id is handled once, also when the state has changed since and would decide otherwise."""
    receive(database, "shop", "order-1", [Decimal(5)], command_id="pay")
    first = spend(database, "shop", "order-1", Decimal(5), command_id="spend")
    receive(database, "shop", "order-1", [Decimal(5)], command_id="pay more")
    assert spend(database, "shop", "order-1", Decimal(5), command_id="spend") == first
    assert spend(database, "shop", "order-1", Decimal(500), command_id="spend") == first
    assert receive(database, "shop", "order-1", [], command_id="pay").version == 1
    assert _count(database, "events") == 3


def test_a_command_id_of_another_stream_is_refused(database: ConnectionPool) -> None:
    """A slip in command ids neither appends nor passes for success."""
    receive(database, "shop", "order-1", [Decimal(5)], command_id="pay")
    with pytest.raises(PipelinesError, match="was given to stream order-1, not order-2"):
        receive(database, "shop", "order-2", [Decimal(5)], command_id="pay")


def test_a_refused_command_leaves_no_trace(database: ConnectionPool) -> None:
    """What the decision raises reaches the caller, nothing is appended, and the id may be used when it is possible."""
    with pytest.raises(PipelinesError, match="only 0 is left"):
        spend(database, "shop", "order-1", Decimal(1), command_id="spend")
    assert spend(database, "shop", "order-1", Decimal(0), command_id="nothing").event_ids == ()
    assert _count(database, "events") == 0
    receive(database, "shop", "order-1", [Decimal(1)], command_id="pay")
    assert spend(database, "shop", "order-1", Decimal(1), command_id="spend").version == 2


def test_an_invalid_decision_is_refused(database: ConnectionPool) -> None:
    """A decision that breaks the schema appends none of its events."""
    with pytest.raises(InvalidEventError, match=r"data\.amount"):
        receive(database, "shop", "order-1", [Decimal(1), Decimal(-1)], command_id="c")
    assert _count(database, "events") == 0


def test_when_another_writer_was_first_it_is_decided_anew(database: ConnectionPool, store: EventStore) -> None:
    """A decision on an old state never enters the log; attempts are bounded."""
    seen: list[Decimal] = []

    @command_handler(ACCOUNT, attempts=3)
    def overtaken(account: Account, times: int) -> list[Fact]:
        seen.append(account.balance)
        if len(seen) <= times:
            store.append("shop", "order-1", [_payment(_count(database, "events"))])
        return [_refund(account.balance)]

    assert overtaken(database, "shop", "order-1", 2, command_id="a").version == 3
    assert seen == [0, 1, 2]  # three decisions, the last of them kept
    seen.clear()
    with pytest.raises(ConcurrencyError):
        overtaken(database, "shop", "order-1", 3, command_id="b")
    assert len(seen) == 3


def test_many_at_once_never_spend_more_than_there_is(database: ConnectionPool) -> None:
    """Writers that race for the last of it, each command sent twice, spend it once."""
    receive(database, "shop", "order-1", [Decimal(5)], command_id="pay")

    def send(number: int) -> bool:
        try:
            spend(database, "shop", "order-1", Decimal(1), command_id=f"spend-{number % 8}")
        except PipelinesError as error:
            assert "only 0 is left" in str(error)  # noqa: PT017 - an outcome, not a failure
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(send, range(16)))
    assert _state(database)[0].balance == 0
    assert _count(database, "events") == 6
    assert sum(done[:8]) >= 1


def test_the_same_command_at_the_same_moment_is_handled_once(database: ConnectionPool) -> None:
    """Two processes with one command both get the one result, wherever they meet."""
    barrier = threading.Barrier(2)

    @command_handler(ACCOUNT)
    def meet(account: Account, command: None) -> list[Fact]:
        if not account.amounts:
            barrier.wait(timeout=10)
        return [Fact("order_paid", {"order_id": "1", "amount": 1})]

    for round_ in range(5):
        with ThreadPoolExecutor(2) as threads:
            calls = [
                threads.submit(meet, database, "shop", f"order-{round_}", None, command_id=f"c-{round_}")
                for _ in range(2)
            ]
        assert calls[0].result() == calls[1].result()
    assert _count(database, "events") == 5


@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_snapshots_change_nothing(database: ConnectionPool, data: st.DataObject) -> None:
    """After any commands, the state with snapshots is the state without."""
    with database.connection() as connection:
        connection.execute("delete from event_log.snapshots")
    stream = f"order-{_count(database, 'events')}"
    money = st.decimals(0, 1000, places=2)
    for number, amounts in enumerate(data.draw(st.lists(st.lists(money, max_size=4), max_size=10))):
        receive(database, "shop", stream, amounts, command_id=f"{stream}/{number}")
        with database.connection() as connection:
            assert ACCOUNT.load(connection, "shop", stream) == ALWAYS_REPLAYED.load(connection, "shop", stream)


def test_a_long_stream_is_replayed_from_its_snapshot(database: ConnectionPool, store: EventStore) -> None:
    """A kept state is used: only later events are folded."""
    store.append_batch("shop", [_payment(number) for number in range(10)])
    folded: list[Any] = []

    def count(account: Account, data: dict[str, Any]) -> Account:
        folded.append(data)
        return _paid(account, data)

    counting = replace(ACCOUNT, folds={"order_paid": count})
    assert _state(database, counting)[1] == 10
    store.append("shop", "order-1", [_payment(10)])
    assert _state(database, counting) == (Account(Decimal(11), (Decimal(1),) * 11), 11)
    assert len(folded) == 11


def test_a_snapshot_of_other_code_is_not_used(database: ConnectionPool, store: EventStore) -> None:
    """Changed folds see the stream from its first event."""
    store.append_batch("shop", [_payment(number) for number in range(10)])
    _state(database)
    doubled = {"order_paid": lambda account, data: Account(account.balance + 2 * data["amount"])}
    changed = replace(ACCOUNT, folds=doubled, code_version="2")
    assert _state(database, changed)[0].balance == 20
    assert _state(database)[0].balance == 10


def test_a_damaged_snapshot_is_passed_over(
    database: ConnectionPool, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read as a state is replayed."""
    store.append_batch("shop", [_payment(number) for number in range(10)])
    _state(database)
    with database.connection() as connection:
        connection.execute("""update event_log.snapshots set state = '{"balance": "much"}'""")
    assert _state(database)[0].balance == 10
    assert "passed over" in caplog.text


@dataclass
class Forgetful:
    """A state that JSON does not keep: the field says nothing of the decimals in it."""

    seen: list[Any] = field(default_factory=list)


def _remember(state: Forgetful, data: dict[str, Any]) -> Forgetful:
    state.seen.append({data["amount"]})
    return state


def test_a_state_that_json_would_change_is_not_kept(
    database: ConnectionPool, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot is written only when it reads back as the same state; the fold may change the state in place."""
    store.append_batch("shop", [_payment(number) for number in range(4)])
    forgetful = Aggregate("forgetful", Forgetful, {"order_paid": _remember}, snapshot_every=2)
    for _ in range(2):
        assert _state(database, forgetful)[0] == Forgetful([{1}] * 4)
    assert _count(database, "snapshots") == 0
    assert "is not kept" in caplog.text


def test_a_state_without_a_json_form_is_refused_when_it_should_be_kept() -> None:
    """A class that cannot be written as JSON is named in one line, with what to do."""
    aggregate = Aggregate("thread", threading.Thread, {})
    with pytest.raises(PipelinesError, match="make it a dataclass"):
        _ = aggregate._json  # noqa: SLF001 - made when first used


def test_a_hole_in_a_stream_is_never_replayed_over(
    database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its first events detached, a stream without a snapshot is refused, not folded from the middle."""
    store.append_batch("shop", [_payment(number) for number in range(4)])
    with database.connection() as connection:
        read = "analytics_pipelines.event_log.command_handling._READ"
        monkeypatch.setattr(read, "select 'order_paid', '{}', 3, 1 where %s::text <> %s and %s < 3 and %s > 0")
        with pytest.raises(PipelinesError, match="cannot be replayed from version 1"):
            ACCOUNT.load(connection, "shop", "order-1")


def test_the_example_of_the_how_to_does_what_it_says(database: ConnectionPool, store: EventStore) -> None:
    """The code of docs/how-to/handle-a-command.md refunds once, and never more than was paid."""
    examples = EXAMPLE.findall((PROJECT_FOLDER / "docs" / "how-to" / "handle-a-command.md").read_text())
    names: dict[str, Any] = {"__name__": "example"}
    for example in examples:
        exec(compile(example, "example", "exec", dont_inherit=True), names)  # noqa: S102 - our own document
    store.append("mine", "order-1", [_payment(1, 9)])
    assert names["give_back"](database) == names["give_back"](database)
    assert [event.event_type for event in store.read()] == ["order_paid", "order_refunded"]
    with pytest.raises(PipelinesError, match=r"has 4\.00 left to give back"):
        names["refund"].decide(names["Order"](Decimal(9), Decimal("5.00")), names["Refund"]("1", Decimal(5)))
