"""The forecasting tables, made from the daily revenue."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines.forecasting import forecasts, series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

FIRST = date(2024, 1, 1)
Revenue = tuple[str, date, str, Decimal]


@pytest.fixture
def connection(database: ConnectionPool) -> Iterator[Connection]:
    """A session to a database that has the mart that forecasting reads, empty, and builds to position 1."""
    with database.connection() as connection:
        connection.execute(
            "create table marts.fct_daily_revenue (tenant_id text, revenue_on date, currency text, revenue numeric)"
        )
        connection.execute("select set_config('pipelines.up_to_position', '1', true)")
        yield connection


def fill(connection: Connection, revenue: Sequence[Revenue], **watermarks: datetime) -> None:
    """Fill the mart, row by row in the order given, and set the tenants' watermarks."""
    with connection.cursor() as cursor:
        cursor.execute("truncate marts.fct_daily_revenue, progress.watermarks")
        cursor.executemany("insert into marts.fct_daily_revenue values (%s, %s, %s, %s)", revenue)
        cursor.executemany(
            "insert into progress.watermarks (tenant_id, position, watermark) values (%s, 1, %s)",
            list(watermarks.items()),
        )


def build(connection: Connection) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Build both tables and return their rows, ordered."""
    series.refresh(connection)
    forecasts.replace(connection, forecasts.outlooks(connection))
    return (
        connection.execute("select * from forecasts.series order by 1, 2, 3, 4").fetchall(),
        connection.execute("select * from forecasts.forecasts order by 1, 2, 3, 4").fetchall(),
    )


def daily(tenant: str, currency: str, days: int) -> list[Revenue]:
    """Make a revenue for each of so many days, with a weekly pattern and some noise."""
    chance = random.Random(f"{tenant}{currency}")
    return [
        (tenant, FIRST + timedelta(days=day), currency, Decimal(1000 + day % 7 * 100 + chance.randrange(50)))
        for day in range(days)
    ]


def evening_of(day: date) -> datetime:
    """Return the last second of a day, at which the day is not over yet."""
    return datetime.combine(day, datetime.max.time(), UTC)


def test_the_day_of_the_watermark_is_left_out(connection: Connection) -> None:
    """A day counts once an event of a later day is known: half a day's revenue would look like a collapse."""
    revenue = [("t", FIRST, "USD", Decimal("10.5")), ("t", FIRST + timedelta(days=1), "USD", Decimal(3))]
    fill(connection, revenue, t=evening_of(FIRST + timedelta(days=1)))
    assert build(connection)[0] == [("t", "daily_revenue", "USD", FIRST, Decimal("10.5"))]

    fill(connection, revenue, t=datetime.combine(FIRST + timedelta(days=2), datetime.min.time(), UTC))
    assert [row[3:] for row in build(connection)[0]] == [
        (FIRST, Decimal("10.5")),
        (FIRST + timedelta(days=1), Decimal(3)),
    ]


def test_days_without_revenue_hold_zero(connection: Connection) -> None:
    """From the first revenue to the watermark no day is missing, and no zeros come before the first."""
    fill(
        connection,
        [("t", FIRST + timedelta(days=day), "USD", Decimal(value)) for day, value in enumerate((0, 7, 0, 9, 0, 0, 0))],
        t=evening_of(FIRST + timedelta(days=6)),
    )

    assert [(row[3].day, row[4]) for row in build(connection)[0]] == [(2, 7), (3, 0), (4, 9), (5, 0), (6, 0)]


def test_thirty_days_follow_the_last_one(connection: Connection) -> None:
    """Each tenant and currency gets 30 rows from the day after its last one, within their intervals, at 95 %."""
    last = FIRST + timedelta(days=59)
    fill(
        connection,
        daily("one", "USD", 60) + daily("one", "EUR", 60) + daily("two", "USD", 20),
        one=evening_of(last + timedelta(days=1)),
        two=evening_of(FIRST + timedelta(days=20)),
    )

    rows = build(connection)[1]

    keys = [("one", "EUR", last), ("one", "USD", last), ("two", "USD", FIRST + timedelta(days=19))]
    assert [(row[0], row[2], row[3], row[4], row[8], row[9]) for row in rows] == [
        (tenant, unit, until + timedelta(days=horizon), horizon, 0.95, until)
        for tenant, unit, until in keys
        for horizon in range(1, 31)
    ]
    assert all(0 <= row[6] <= row[5] <= row[7] for row in rows)
    assert {(row[0], row[10]) for row in rows} == {("one", "ETS(A,N,A)"), ("two", "seasonal_naive")}


def test_a_day_that_is_over_keeps_its_last_forecast(connection: Connection) -> None:
    """Beside a day's value stands what was last expected of it; days ahead are expected anew; what is gone goes."""
    revenue = daily("t", "USD", 80)
    fill(connection, revenue[:60] + daily("t", "EUR", 60), t=evening_of(FIRST + timedelta(days=60)))
    expected = [row for row in build(connection)[1] if row[2] == "USD"]

    fill(connection, revenue[:70], t=evening_of(FIRST + timedelta(days=70)))
    observed, rows = build(connection)
    again = build(connection)

    assert rows[:10] == expected[:10]
    assert [row[3] for row in observed[60:]] == [row[3] for row in rows[:10]]
    assert [(row[3], row[9]) for row in rows[10:]] == [
        (FIRST + timedelta(days=70 + ahead), FIRST + timedelta(days=69)) for ahead in range(30)
    ]
    assert again == (observed, rows)


def test_a_series_that_is_too_short_has_no_forecast(connection: Connection) -> None:
    """13 days are kept as a series, without a forecast; the reason is said."""
    fill(connection, daily("t", "USD", 13), t=evening_of(FIRST + timedelta(days=13)))

    kept, ahead = build(connection)

    assert (len(kept), ahead) == (13, [])
    assert "no forecast" in forecasts.summary(forecasts.outlooks(connection))["t, daily revenue, USD"]


def test_any_order_of_arrival_gives_the_same_tables(connection: Connection) -> None:
    """Rows that were written in another order give the same series and the same forecasts to the last bit."""
    revenue = daily("t", "USD", 80) + daily("u", "EUR", 50)
    watermarks = {"t": evening_of(FIRST + timedelta(days=80)), "u": evening_of(FIRST + timedelta(days=50))}
    fill(connection, revenue, **watermarks)
    expected = build(connection)

    random.Random(1).shuffle(revenue)
    fill(connection, revenue, **watermarks)

    assert build(connection) == expected
