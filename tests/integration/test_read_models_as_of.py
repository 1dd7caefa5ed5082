"""A read model as of a moment is what its events up to that moment make of it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql as pg

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import comparison, projector, sql, table_function
from analytics_pipelines.read_models.as_of import AXES, Axis, as_of, changes
from analytics_pipelines.read_models.as_of_commands import as_of as as_of_command
from analytics_pipelines.read_models.comparison import Comparison
from analytics_pipelines.read_models.declaration import MOST_STREAMS
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings

EVENTS = 2_000
KEYS = 25
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
MODELS = list(READ_MODELS.values())
LEAD_ANALYTICS = READ_MODELS["lead_analytics"]


def advance(pool: ConnectionPool) -> int:
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, MODELS, up_to)
    return up_to


def table(connection: Connection, model: ReadModel, tenant: str, of: str = "") -> dict[tuple[str, ...], str]:
    """The rows of a tenant, by key, as JSON without the tenant."""
    key = ", ".join(model.key)
    rows = connection.execute(
        f"select {key}, (to_jsonb(found) - 'tenant_id')::text from read_models.{model.name}{of} as found "
        "where tenant_id = %s",
        [tenant],
    ).fetchall()
    return {tuple(row[:-1]): row[-1] for row in rows}


def story(seed: int) -> list[list[NewEvent]]:
    """Batches as they arrive: out of order, some repeated, many of one moment."""
    events = [
        replace(event, occurred_at=event.occurred_at.replace(minute=0, second=0, microsecond=0))
        for event in simulate(EVENTS, seed)
    ]
    chance = random.Random(seed)
    shuffled = chance.sample(events, len(events))
    return [shuffled[:1_000], shuffled[1_000:1_500], shuffled[1_500:]]


def asked(connection: Connection, model: ReadModel, chance: random.Random) -> list[tuple[str, ...]]:
    """Some keys of every kind: of one stream and of many, with and without events by the moment."""
    key = ", ".join(model.key)
    rows = connection.execute(
        f"select {key}, _streams is null or cardinality(_streams) > 1 from {sql.table(model)} "
        f"where tenant_id = 'saas' order by {key}"
    ).fetchall()
    scattered = [row[:-1] for row in rows if row[-1]]
    together = [row[:-1] for row in rows if not row[-1]]
    return [key for kind in (scattered, together) for key in chance.sample(kind, min(KEYS, len(kind)))]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("by", AXES)
def test_an_answer_is_what_the_events_up_to_the_moment_make(database: ConnectionPool, by: Axis, seed: int) -> None:
    """For every model and both kinds of time, each row equals that of a log that ends at the moment, ties included."""
    store, chance = EventStore(database), random.Random(seed)
    for batch in story(seed):
        store.append_batch("saas", batch)
        advance(database)
    events = list(store.read(tenant_id="saas"))
    moments = sorted(getattr(event, AXES[by]) for event in chance.sample(events, 3))
    moments.append(moments[-1] + timedelta(minutes=1))
    for number, moment in enumerate(moments):
        known = [event for event in events if getattr(event, AXES[by]) <= moment]
        assert store.append_batch(f"cut-{number}", [_sent(event) for event in known]).accepted == len(known)
    advance(database)
    answered = asked_of = 0
    with database.connection() as connection:
        for model in MODELS:
            keys = asked(connection, model, chance)
            asked_of += bool(keys)
            for number, moment in enumerate(moments):
                expected = table(connection, model, f"cut-{number}")
                for key in keys:
                    row = as_of(connection, model, "saas", key, moment, by=by).row
                    assert _comparable(connection, row) == expected.get(key), (model.name, key, moment)
                    answered += row is not None
                if by == "event-time":
                    of = f"_as_of('{moment.isoformat()}')"
                    assert table(connection, model, "saas", of) == expected, (model.name, moment)
    assert answered > 100
    # The simulator has no sagas, no stores, no changed orders, no experiments that are told of, and few refunds.
    assert asked_of >= len(MODELS) - 5


def test_a_key_of_many_streams_is_read_from_them_alone_up_to_so_many(
    database: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A customer's orders are streams of their own: up to 64 streams no other event is read, and more are not kept."""
    store, customers = EventStore(database), {"few": 3, "full": MOST_STREAMS, "over": MOST_STREAMS + 1}
    numbers = [(customer, number) for customer, orders in customers.items() for number in range(orders)]
    random.Random(1).shuffle(numbers)
    for cut in (numbers[:40], numbers[40:45], numbers[45:]):
        store.append_batch("shop", [_order(customer, number) for customer, number in cut])
        advance(database)
    store.append_batch("shop", [_order("full", 0, "again"), _order("over", 1, "again")])  # streams that are known
    advance(database)
    model = READ_MODELS["customer_profile"]
    with database.connection() as connection:
        assert comparison.differences(connection, model).differing == []
        query = f"select customer_id, cardinality(_streams) from {sql.table(model)}"
        kept: dict[str, int | None] = dict(connection.execute(query).fetchall())
        assert kept == {"few": 3, "full": MOST_STREAMS, "over": None}
        row = as_of(connection, model, "shop", ["over"], NOON + timedelta(minutes=30)).row
        assert row is not None
        assert row["orders"] == 32  # numbers 0 to 30, and one again
        monkeypatch.delattr("analytics_pipelines.read_models.as_of._of_log")
        for customer, orders in (("few", 3), ("full", 32)):
            row = as_of(connection, model, "shop", [customer], NOON + timedelta(minutes=30)).row
            assert row is not None
            assert row["orders"] == orders
        with pytest.raises(NameError, match="_of_log"):
            as_of(connection, model, "shop", ["over"], NOON)


def test_streams_are_kept_alike_however_many_come_at_once(database: ConnectionPool) -> None:
    """More than are kept in one batch, before, after or beside few: the names are those that a replay keeps."""
    store, over = EventStore(database), MOST_STREAMS + 1
    batches = {
        "few then over": [1, over],
        "over then few": [over, 1],
        "over at once": [over],
        "full": [1, MOST_STREAMS],
    }
    for number in range(2):
        for customer, sizes in batches.items():
            first, size = sum(sizes[:number]), [*sizes, 0][number]
            store.append_batch("shop", [_order(customer, stream) for stream in range(first, first + size)])
        advance(database)
    model = READ_MODELS["customer_profile"]
    with database.connection() as connection:
        assert comparison.differences(connection, model) == Comparison(len(batches), [])
        query = f"select count(*), count(_streams) from {sql.table(model)}"
        assert connection.execute(query).fetchone() == (len(batches), 0)


def _order(customer: str, number: int, suffix: str = "") -> NewEvent:
    name = f"{customer}-{number}"
    lines = [{"product_id": "p", "quantity": 1, "revenue": 1}]
    data = {
        "order_id": f"{name}{suffix}",
        "customer_id": customer,
        "channel": "online",
        "currency": "EUR",
        "lines": lines,
    }
    return NewEvent("test", f"{name}{suffix}", f"order-{name}", "order_placed", NOON + timedelta(minutes=number), data)


def _sent(event: Any) -> NewEvent:
    return NewEvent(
        event.source, event.event_id, event.stream_id, event.event_type, event.occurred_at, event.data_json,
        event.schema_version, event.sequence,
    )  # fmt: skip


def _comparable(connection: Connection, row: dict[str, Any] | None) -> str | None:
    from analytics_pipelines.event_log.validation import json_text

    if row is None:
        return None
    found = connection.execute("select (%s::jsonb - 'tenant_id')::text", [json_text(row)]).fetchone()
    assert found is not None
    return found[0]


@pytest.mark.parametrize("by", AXES)
def test_changes_are_the_difference_of_two_answers(database: ConnectionPool, by: Axis) -> None:
    """Between two moments, exactly the rows whose answers differ are told, each with the columns that differ."""
    store = EventStore(database)
    for batch in story(1):
        store.append_batch("saas", batch)
    advance(database)
    moments = sorted(getattr(event, AXES[by]) for event in store.read(tenant_id="saas"))
    first, second = moments[len(moments) // 2], moments[len(moments) // 2 + 60]
    told = 0
    with database.connection() as connection:
        for model in MODELS:
            found = changes(connection, model, "saas", first, second, by=by, limit=10_000)
            rows = {tuple(row.key.values()): row for row in found.rows}
            assert len(rows) == found.appeared + found.changed
            for key in table(connection, model, "saas"):
                before = as_of(connection, model, "saas", key, first, by=by).row
                after = as_of(connection, model, "saas", key, second, by=by).row
                alone = changes(connection, model, "saas", first, second, key=key, by=by)
                assert alone.rows == ([rows[key]] if key in rows else [])
                assert (before != after) == (key in rows)
                if key in rows and before is not None and after is not None:
                    assert rows[key].columns == {
                        name: (before[name], after[name]) for name in after if before[name] != after[name]
                    }
                told += key in rows
            few = changes(connection, model, "saas", first, second, by=by, limit=1)
            assert (few.appeared, few.changed, few.rows) == (found.appeared, found.changed, found.rows[:1])
    assert told > 20


@pytest.fixture
def bi_login(database_settings: Settings) -> Iterator[psycopg.Connection]:
    """A session of a login of a BI tool, which may read one tenant."""
    admin_url = connections.admin_url(database_settings)
    name = f"bi_{urlsplit(admin_url).path.strip('/')}"
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute(pg.SQL("create role {} login password 'secret' in role bi_reader").format(pg.Identifier(name)))
        admin.execute("insert into access.bi_grants values (%s, 'saas')", [name])
        url = urlsplit(admin_url)
        place = f"{url.hostname}:{url.port}"
        with psycopg.connect(f"postgresql://{name}:secret@{place}{url.path}", autocommit=True) as session:
            yield session
        admin.execute(pg.SQL("drop role {}").format(pg.Identifier(name)))


def test_a_bi_login_sees_its_tenants_as_of_a_moment_and_nothing_else(
    database: ConnectionPool, bi_login: psycopg.Connection
) -> None:
    """The table function shows a BI login the rows of the tenants granted to it, whatever it sets, and no more."""
    store = EventStore(database)
    store.append_batch("saas", simulate(500, 1))
    up_to = advance(database)
    store.append_batch("other", simulate(500, 1))
    store.append_batch("saas", simulate(900, 2))
    advance(database)
    with database.connection() as connection:
        for model in MODELS:
            seen = {row[0] for row in bi_login.execute(f"select tenant_id from read_models.{model.name}_as_of()")}
            live = {row[0] for row in connection.execute(f"select tenant_id from read_models.{model.name}")}
            assert seen == live & {"saas"}
            assert "saas" in live or not live  # the simulator has no sagas, no stores and few refunds
            all_of_it = f"read_models.{model.name}_as_of(up_to_position => {2**62})"
            full = connection.execute(f"select count(*) from {all_of_it}").fetchone()
            assert full == connection.execute(f"select count(*) from read_models.{model.name}").fetchone()
            then = connection.execute(f"select distinct tenant_id from read_models.{model.name}_as_of(null, {up_to})")
            assert set(then.fetchall()) <= {("saas",)}
            for what in (f"read_models.{model.name}", sql.table(model)):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    bi_login.execute(f"select from {what}")
    for refused in ("set role pipelines_runtime", "set session authorization pipelines", "select access.sees_all()",
                    "select from access.bi_grants", "select from event_log.events"):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bi_login.execute(refused)
    bi_login.execute("set role bi_reader")
    assert bi_login.execute("select distinct tenant_id from read_models.lead_analytics_as_of()").fetchall() == [
        ("saas",)
    ]
    with database.connection() as connection:
        connection.execute("delete from access.bi_grants")
    assert bi_login.execute("select from read_models.lead_analytics_as_of()").fetchall() == []


def test_a_changed_declaration_changes_the_table_function(database: ConnectionPool) -> None:
    """The function is made anew with the columns of another version, and with the same rights."""
    EventStore(database).append_batch("saas", simulate(500, 1))
    advance(database)
    fewer = replace(LEAD_ANALYTICS, columns=LEAD_ANALYTICS.columns[:-1])
    with database.connection() as connection:
        table_function.publish(connection, fewer)
        found = connection.execute("select * from read_models.lead_analytics_as_of()").description or ()
        assert [column.name for column in found] == list(fewer.descriptions)
        executable = connection.execute(
            "select has_function_privilege('public', oid, 'execute'),"
            " has_function_privilege('bi_reader', oid, 'execute')"
            " from pg_proc where proname = 'lead_analytics_as_of'"
        ).fetchone()
    assert executable == (False, True)


def ask(monkeypatch: pytest.MonkeyPatch, settings: Settings, *arguments: str) -> Result:
    from analytics_pipelines import settings as module

    monkeypatch.setattr(module, "load_settings", lambda: settings)
    return CliRunner().invoke(as_of_command, [*arguments])


def test_the_command_answers_and_says_what_is_wrong(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row, null for what was not there yet, the difference; one clear line for each kind of mistake."""
    paid = {"order_id": "1", "amount": Decimal("2.50")}
    EventStore(database).append_batch("shop", [
        NewEvent("test", "1", "order-1", "order_paid", NOON, paid),
        NewEvent("test", "2", "order-1", "order_paid", NOON + timedelta(hours=1), paid),
    ])  # fmt: skip

    def of(*arguments: str) -> Result:
        return ask(monkeypatch, database_settings, *arguments)

    one = ("order_state", "1", "--tenant", "shop", "--at", "2017-06-01T12:59:59.999999Z")
    unbuilt = of(*one)
    assert isinstance(unbuilt.exception, PipelinesError)
    assert "was not built yet as it is declared now; run `pipelines rebuild" in str(unbuilt.exception)
    position = advance(database)
    row = json.loads(of(*one, "--json").stdout)
    assert (row["tenant_id"], row["order_id"], row["paid_amount"]) == ("shop", "1", 2.5)
    assert list(row) == list(READ_MODELS["order_state"].descriptions)
    inclusive = of("order_state", "1", "--tenant", "shop", "--at", "2017-06-01T15:00+02:00", "--json")
    assert json.loads(inclusive.stdout)["paid_amount"] == 5
    text = of(*one).stdout
    assert f"of events up to position {position}" in text
    assert "paid_amount" in text
    difference = of(*one, "--to", "2017-06-01T13:00", "--json")
    assert json.loads(difference.stdout)["rows"] == [
        {"key": {"order_id": "1"}, "change": "changed",
         "columns": {"paid_amount": [2.5, 5], "invalid_transitions": [1, 2], "last_event_at": [
             "2017-06-01T12:00:00+00:00", "2017-06-01T13:00:00+00:00"]}}
    ]  # fmt: skip
    whole = of("order_state", "--tenant", "shop", "--at", "2017-01-01", "--to", "2017-06-01T13:00")
    assert "1 appeared, 0 changed" in whole.stdout
    for nothing in (("order_state", "2"), ("order_state", "1", "--by", "log-time")):
        answer = of(*nothing, "--tenant", "shop", "--at", "2017-06-01", "--json")
        assert (answer.exit_code, answer.stdout) == (0, "null\n")
    mistakes = {
        ("nothing", "1", "--tenant", "shop", "--at", "2017-06-01"): "no read model 'nothing'; there are ",
        ("order_state", "1", "--tenant", "shup", "--at", "2017-06-01"): "tenant 'shup' has no events",
        ("order_state", "1", "2", "--tenant", "shop", "--at", "2017-06-01"): "is keyed by order_id: give 1 value",
        (*one, "--to", "2016-01-01"): "give the earlier moment first",
        ("order_state", "1", "--tenant", "shop", "--at", "yesterday"): "no ISO 8601 time such as",
        ("order_state", "--tenant", "shop", "--at", "2017-06-01"): "give KEY, or --to",
    }
    for arguments, line in mistakes.items():
        result = of(*arguments)
        assert result.exit_code in {1, 2}
        assert line in f"{result.exception}{result.stderr}"
