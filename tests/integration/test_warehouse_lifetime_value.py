"""The lifetime value tables, made from orders by a run of Dagster."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from analytics_pipelines import progress
from analytics_pipelines.warehouse import lifetime_value
from analytics_pipelines.warehouse.assets import lifetime_values
from analytics_pipelines.warehouse.manifest import PROJECT, load_models
from analytics_pipelines.warehouse.purchase_models import PurchaseModel, ValueModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

FIRST = date(2024, 1, 1)
NOW = datetime(2024, 12, 31, 9, tzinfo=UTC)
Order = tuple[str, str, str, date, str, Decimal]


@pytest.fixture
def orders(database: ConnectionPool) -> Iterator[Connection]:
    """A session to a database that has the mart that lifetime values are made of, empty."""
    with database.connection() as connection:
        connection.execute("""
            create table marts.fct_orders (
                tenant_id text, currency text, customer_id text, ordered_on date, status text, revenue numeric
            )
        """)
        connection.execute("select set_config('pipelines.up_to_position', '1', true)")
        yield connection


def fill(connection: Connection, found: Sequence[Order], now: datetime = NOW) -> None:
    """Fill the mart, row by row in the order given, and set the tenants' watermarks."""
    with connection.cursor() as cursor:
        cursor.execute("truncate marts.fct_orders, progress.watermarks")
        cursor.executemany("insert into marts.fct_orders values (%s, %s, %s, %s, %s, %s)", found)
        cursor.executemany(
            "insert into progress.watermarks (tenant_id, position, watermark) values (%s, 1, %s)",
            [(tenant, now) for tenant in sorted({order[0] for order in found})],
        )


def order(market: str, customer: str, day: int, revenue: str, status: str = "completed") -> Order:
    """Return an order in a market, named by its tenant and currency."""
    tenant, currency = market.split()
    return tenant, currency, customer, FIRST + timedelta(days=day), status, Decimal(revenue)


def shoppers(market: str, customers: int) -> list[Order]:
    """Make customers of whom each third buys once, and the others again and again, some of whom stop."""
    chance = random.Random(market)
    found: list[Order] = []
    for number in range(customers):
        day, mean = chance.randrange(200), chance.uniform(10, 90)
        while day < 365:
            found.append(order(market, f"c{number}", day, f"{chance.gammavariate(6, mean / 6):.2f}"))
            if number % 3 == 0 or chance.random() < 0.15:
                break
            day += 1 + int(chance.expovariate(1 / 30))
    return found


def build(connection: Connection) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Build both tables and return their rows, ordered."""
    lifetime_value.replace(connection, lifetime_value.outlooks(connection))
    return (
        connection.execute("select * from marts.lifetime_value_models order by 1, 2").fetchall(),
        connection.execute("select * from marts.customer_lifetime_values order by 1, 2, 3").fetchall(),
    )


def test_a_history_is_what_was_bought_by_day_and_currency(orders: Connection) -> None:
    """Orders of one day are one purchase, cancelled ones none, the first is no repetition; now is the watermark."""
    fill(
        orders,
        [
            order("shop EUR", "ann", 10, "5.00"),
            order("shop EUR", "ann", 10, "7.00", "pending"),
            order("shop EUR", "ann", 20, "1.00"),
            order("shop EUR", "ann", 20, "2.50"),
            order("shop EUR", "ann", 45, "4.50"),
            order("shop EUR", "ann", 300, "99", "cancelled"),
            order("shop USD", "ann", 300, "9"),
            order("shop EUR", "ben", 365, "3"),
            order("shop EUR", "cem", 5, "3", "cancelled"),
        ],
    )

    assert [row[:8] for row in build(orders)[1]] == [
        ("shop", "ann", "EUR", date(2024, 12, 31), 2, 35, 355, Decimal(4)),
        ("shop", "ann", "USD", date(2024, 12, 31), 0, 0, 65, None),
        ("shop", "ben", "EUR", date(2024, 12, 31), 0, 0, 0, None),
    ]


def test_predictions_are_those_of_the_models_that_are_told(orders: Connection) -> None:
    """Each row follows from its history and the parameters told; each tenant and currency has its own."""
    fill(orders, [*shoppers("a EUR", 400), *shoppers("a USD", 300), *shoppers("b EUR", 300)])

    models, values = build(orders)

    assert [(row[:2], row[3], row[12]) for row in models] == [
        (("a", "EUR"), 400, None), (("a", "USD"), 300, None), (("b", "EUR"), 300, None),
    ]  # fmt: skip
    assert len({row[5:12] for row in models}) == 3
    parameters = {row[:2]: (PurchaseModel(*row[5:9]), ValueModel(*row[9:12])) for row in models}
    for row in values:
        purchases, worth = parameters[row[0], row[2]]
        history = [np.array([float(number)]) for number in row[4:7]]
        expected = purchases.expected_purchases(*history, 365)[0]
        value = worth.expected_value(history[0], np.array([float(row[7] or 0)]))[0]
        assert row[8] == pytest.approx(purchases.probability_alive(*history)[0], rel=1e-9)
        assert row[9:13] == pytest.approx((365, expected, value, expected * value), rel=1e-9)


def test_too_few_who_bought_again_get_no_prediction(orders: Connection) -> None:
    """Their histories are there, the reason stands beside them, and other tenants have theirs."""
    fill(orders, [*shoppers("few EUR", 60), *shoppers("many EUR", 400)])

    models, values = build(orders)

    problems = {row[0]: row[12] for row in models}
    assert problems["many"] is None
    assert problems["few"].endswith("customers bought on more than one day, at least 100 are needed")
    predicted = {(row[0], row[11] is not None) for row in values}
    assert predicted == {("few", False), ("many", True)}


def test_free_purchases_are_counted_and_not_valued(orders: Connection) -> None:
    """Customers who paid nothing again and again: how often they come is predicted, for how much is not, and why."""
    free = [(*found[:5], Decimal(0)) for found in shoppers("shop EUR", 400)]
    fill(orders, free)

    models, values = build(orders)

    assert "0 customers paid for a purchase after the first one" in models[0][12]
    assert {(row[10] is not None, row[11], row[12]) for row in values} == {(True, None, None)}


def test_the_order_of_arrival_decides_nothing(orders: Connection) -> None:
    """Orders written in another order give the same two tables, to the last bit."""
    found = shoppers("a EUR", 400)
    fill(orders, found)
    expected = build(orders)

    random.Random(1).shuffle(found)
    fill(orders, found)

    assert build(orders) == expected


def test_now_is_the_watermark(orders: Connection) -> None:
    """The same orders a year of silence later: nobody is younger, and less is expected of those who fell silent."""
    found = shoppers("a EUR", 400)
    fill(orders, found)
    before = {row[1]: row for row in build(orders)[1]}

    fill(orders, found, NOW + timedelta(days=366))

    for row in build(orders)[1]:
        assert row[6] == before[row[1]][6] + 366
        assert row[4] == 0 or row[8] < before[row[1]][8]


def test_a_run_builds_both_tables_and_shows_what_is_expected(
    orders: Connection, database: ConnectionPool, asset_runs: Any
) -> None:
    """One step makes both, accounts for them as marts, and says what is expected; no orders are no failure."""
    orders.commit()
    assert asset_runs.run([lifetime_values]).success
    fill(orders, [*shoppers("few EUR", 60), *shoppers("many EUR", 400)])
    orders.execute("update progress.watermarks set position = 0")
    progress.note_change(orders, "marts/fct_orders")
    orders.commit()

    shown = asset_runs.metadata(asset_runs.run([lifetime_values]))

    assert {key: found["rows_by_tenant"].value for key, found in shown.items()} == {
        "marts/lifetime_value_models": {"few": 1, "many": 1},
        "marts/customer_lifetime_values": {"few": 60, "many": 400},
    }
    models = shown["marts/lifetime_value_models"]["models"].value
    assert models["many, EUR"].endswith("EUR of 400 customers in 365 days from 2024-12-31")
    assert models["few, EUR"].startswith("no prediction: ")
    built = orders.execute("select asset_key, rows, inputs from progress.builds where tenant_id = 'many' order by 1")
    assert built.fetchall() == [
        ("marts/customer_lifetime_values", 400, {"marts.fct_orders": 1}),
        ("marts/lifetime_value_models", 1, {"marts.fct_orders": 1}),
    ]


def test_dbt_documents_the_tables_as_they_are(database: ConnectionPool) -> None:
    """Both tables are among dbt's sources, with every column, its type, and the words that the database has of it."""
    load_models()
    sources = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())["sources"].values()
    documented = {
        (source["name"], column, kind, words.strip().rstrip("."))
        for source in sources
        if source["schema"] == "marts"
        for column, kind, words in [
            ("", "", source["description"]),
            *((name, column["data_type"], column["description"]) for name, column in source["columns"].items()),
        ]
    }
    with database.connection() as connection:
        found = connection.execute("""
            select relname, coalesce(attname, ''), coalesce(format_type(atttypid, atttypmod), ''), description
            from pg_description join pg_class on pg_class.oid = objoid and relnamespace = 'marts'::regnamespace
            left join pg_attribute on attrelid = objoid and attnum = objsubid and objsubid > 0
            where classoid = 'pg_class'::regclass
        """).fetchall()

    assert {row[0] for row in found} == set(lifetime_value.TABLES)
    assert documented == set(found)
