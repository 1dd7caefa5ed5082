"""Live rows against a replay: what a run compares, at what cost, and what it leaves to the nightly check."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import comparison, projector, sql, versions
from analytics_pipelines.read_models.comparison import Comparison
from analytics_pipelines.read_models.declaration import MOST_STREAMS
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings

EVENTS, NEW = 4_000, 400
ROUNDS = 10
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
MODELS = list(READ_MODELS.values())
LEADS, CAMPAIGNS = READ_MODELS["lead_analytics"], READ_MODELS["campaign_performance"]


def advance(pool: ConnectionPool, *models: ReadModel) -> int:
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, models or MODELS, up_to)
    return up_to


def append_simulated(pool: ConnectionPool, *models: ReadModel) -> int:
    """Append and fold a history, then some more events; return the position between both."""
    events = list(simulate(EVENTS, 1))
    EventStore(pool).append_batch("saas", events[:-NEW])
    before = advance(pool, *models)
    EventStore(pool).append_batch("saas", events[-NEW:])
    advance(pool, *models)
    return before


def touched(connection: Connection, model: ReadModel, after: int) -> int:
    present = " and ".join(f"{name} is not null" for name in model.key)
    row = connection.execute(
        f"select count(distinct ({sql.keys(model)})) from ({sql.events(model, sql.NEW)}) as new where {present}",
        {"after": after, "up_to": 2**62},
    ).fetchone()
    assert row is not None
    return row[0]


def scans(plan: Any) -> Iterator[dict[str, Any]]:
    """Every node of a plan that reads a table."""
    if isinstance(plan, list):
        for part in plan:
            yield from scans(part)
    elif isinstance(plan, dict):
        if "Relation Name" in plan:
            yield plan
        for part in plan.values():
            yield from scans(part)


def test_each_touched_key_is_compared_in_every_model(database: ConnectionPool) -> None:
    """All keys that new events touch equal their replay, whether in one stream, in several, or kept by day."""
    before = append_simulated(database)
    with database.connection() as connection:
        compared = {model.name: comparison.differences(connection, model, after=before) for model in MODELS}
        expected = {model.name: Comparison(touched(connection, model, before), []) for model in MODELS}
        assert compared == expected
        several = f"select count(*) from {sql.table(LEADS)} where cardinality(_streams) > 1"
        assert connection.execute(several).fetchone() != (0,)


def test_no_comparison_of_touched_keys_reads_the_whole_log(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """The old events of a key are found by the index over streams, or are kept by day, in every model."""
    arguments = {"after": append_simulated(database), "up_to": 2**62}
    with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:
        admin.execute("analyze")
    with database.connection() as connection:
        connection.execute("set local enable_seqscan = off")
        connection.execute("set local enable_bitmapscan = off")
        for model in MODELS:
            version = versions.declared(model)
            made_anew = f"explain (format json) with {version.touched} {version.refold}"
            (plan,) = connection.execute(made_anew, arguments).fetchone() or ()
            read = [scan.get("Index Cond", "") for scan in scans(plan) if scan["Relation Name"] == "events_first"]
            old = {condition for condition in read if '"position" > ' not in condition}  # the others find what is new
            of_a_stream = "((tenant_id = keys.tenant_id) AND (stream_id = names.name))"
            assert (model.name, old) == (model.name, set() if model.by_day else {of_a_stream})


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (LEADS, "update {table} set _emails_sent = 99"),
        (LEADS, "delete from {table}"),
        (CAMPAIGNS, "update {table} set _emails_sent = 99"),
        (CAMPAIGNS, "delete from {table}"),
        (CAMPAIGNS, "update {table}__days set _emails_sent = _emails_sent + 1"),
        (CAMPAIGNS, "delete from {table}__days"),
        (CAMPAIGNS, "update {table}__days set _last_position = 0"),  # which its state does not show
    ],
)
def test_a_wrong_row_is_found_among_the_touched(database: ConnectionPool, model: ReadModel, wrong: str) -> None:
    """A value changed or a row removed behind the model's back is found, in its state and in its days, and named."""
    before = append_simulated(database, model)
    key = next(iter(model.key))
    with database.connection() as connection:
        row = connection.execute(
            f"select {key} from ({sql.events(model, sql.NEW)}) as new where {key} is not null limit 1",
            {"after": before, "up_to": 2**62},
        ).fetchone()
        assert row is not None
        connection.execute(f"{wrong.format(table=sql.table(model))} where {key} = %s", row)
        found = comparison.differences(connection, model, after=before)
        assert found.differing
        assert all(name.startswith(f"saas/{row[0]}") for name in found.differing)


def test_a_key_of_too_many_streams_is_left_to_the_comparison_of_all(database: ConnectionPool) -> None:
    """Where only the whole log tells which events a key has, the run says how many it left, and the night finds it."""
    customers = READ_MODELS["customer_profile"]
    store = EventStore(database)
    store.append_batch("shop", [order("many", number) for number in range(MOST_STREAMS + 1)])
    before = advance(database, customers)
    store.append_batch("shop", [order("many", MOST_STREAMS + 1), order("few", 0)])
    advance(database, customers)
    with database.connection() as connection:
        assert comparison.differences(connection, customers, after=before) == Comparison(1, [], left_out=1)
        connection.execute(f"update {sql.table(customers)} set _orders = 1 where customer_id = 'many'")
        assert comparison.differences(connection, customers, after=before) == Comparison(1, [], left_out=1)
        assert comparison.differences(connection, customers) == Comparison(2, ["shop/many"])


@pytest.mark.parametrize(
    ("model", "column"), [(LEADS, "_emails_sent"), (READ_MODELS["workspace_summary"], "_sessions")]
)
def test_of_long_histories_each_run_compares_some_others(
    database: ConnectionPool, monkeypatch: pytest.MonkeyPatch, model: ReadModel, column: str
) -> None:
    """A run reads so many old events for each new one: of the keys it touched it picks some, the next time others."""
    monkeypatch.setattr(comparison, "FEW_OLD", 100)
    monkeypatch.setattr(comparison, "OLD_FOR_NEW", 1)
    events = [event for number in range(3) for event in told_again(simulate(EVENTS, 1), number)]
    EventStore(database).append_batch("saas", events)
    before = advance(database, model)
    key = next(iter(model.key))
    with database.connection() as connection:
        one = f"select {key} from ({sql.events(model, sql.NEW)}) as found where {key} is not null limit 1"
        (wrong,) = connection.execute(one, {"after": 0, "up_to": 200}).fetchone() or ()
        connection.execute(f"update {sql.table(model)} set {column} = 99 where {key} = %s", [wrong])
    found: list[bool] = []
    for number in range(3, 3 + ROUNDS):
        EventStore(database).append_batch("saas", told_again(simulate(EVENTS, 1), number)[:200])
        after, before = before, advance(database, model)
        with database.connection() as connection:
            told = comparison.differences(connection, model, after=after)
            assert told.keys + told.left_out == touched(connection, model, after)
            assert told.keys
            assert told.left_out
        assert told.differing in ([], [f"saas/{wrong}"])
        found.append(bool(told.differing))
    assert 0 < sum(found) < ROUNDS


def test_a_stream_that_many_keys_share_is_read_once(database: ConnectionPool, database_settings: Settings) -> None:
    """What is read to fold keys of shared streams again is these streams, not these streams for each key."""
    orders = READ_MODELS["order_state"]
    placed = [replace(order("customer", number), stream_id="placed") for number in range(300)]
    EventStore(database).append_batch("shop", placed)
    advance(database, orders)
    with psycopg.connect(connections.admin_url(database_settings), autocommit=True) as admin:
        admin.execute("analyze event_log.events")
    with database.connection() as connection:
        made_anew = f"with {sql.touched(orders)} {sql.refolded_by_parts(orders, 'touched')}"
        explain = f"explain (analyze, format json) {made_anew}"
        (plan,) = connection.execute(explain, {"after": 0, "up_to": 2**62}).fetchone() or ()
    read = sum(
        scan["Actual Rows"] * scan["Actual Loops"] for scan in scans(plan) if scan["Relation Name"] == "events_first"
    )
    assert read == 2 * len(placed)  # as what is new, and as what is old


def order(customer: str, number: int) -> NewEvent:
    name = f"{customer}-{number}"
    data = {
        "order_id": name, "customer_id": customer, "channel": "online", "currency": "EUR",
        "lines": [{"product_id": "p", "quantity": 1, "revenue": 1}],
    }  # fmt: skip
    return NewEvent("test", name, f"order-{name}", "order_placed", NOON + timedelta(minutes=number), data)


def told_again(events: Iterable[NewEvent], number: int) -> list[NewEvent]:
    """The same events under other identities."""
    return [
        NewEvent(
            event.source, f"{event.event_id}/{number}", event.stream_id, event.event_type, event.occurred_at,
            event.data, event.schema_version, event.sequence,
        )
        for event in events
    ]  # fmt: skip
