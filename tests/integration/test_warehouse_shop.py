"""The marts of a shop, built and brought up to date, against what pandas makes of the same facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import psycopg
import pytest

from analytics_pipelines import connections
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.assets import MODELS
from tests.integration.shop_log import Shop, in_force, make_shop
from tests.integration.test_warehouse_build import TEMPLATE, database, fill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_pipelines.settings import Settings

CONCERNS = {"customers", "dates", "finance", "products", "sales"}
MARTS = [model for model in MODELS if CONCERNS & {*model.tags} and model.materialization == "incremental"]


@dataclass(frozen=True)
class Built:
    """A warehouse, and what is known of the shop."""

    settings: Settings
    shop: Shop

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with psycopg.connect(connections.admin_url(self.settings)) as connection:
            return connection.execute(query.encode()).fetchall()

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The orders that were not cancelled."""
        return [order for order in self.shop.orders if order["order_id"] not in self.shop.cancelled]


@pytest.fixture(scope="module")
def built(servers: Settings) -> Iterator[Built]:
    """The marts of the shop, built and then brought up to date with what was told late, all tests passed."""
    shop = make_shop()
    models = [model.name for model in MODELS]
    with database(servers, "test_warehouse_shop", TEMPLATE) as settings:
        built = Built(settings, shop)
        for run_id, events in (("first", shop.first), ("late", shop.late)):
            fill(settings, events, run_id)
            up_to = built.rows("select max(up_to_position) from progress.pins")[0][0]
            tests = [test.name for model in MARTS for test in model.tests] if run_id == "late" else []
            for result in dbt.build(settings, models + tests, up_to_position=up_to):
                assert result.status in {"success", "pass"}, (result.unique_id, result.message)
        yield built


def by(rows: pd.DataFrame, keys: list[str], value: str) -> dict[Any, Any]:
    """Add up a column by keys."""
    return rows.groupby(keys)[value].sum().to_dict()


def month(at: pd.Series[Any]) -> pd.Series[Any]:
    """Return the first days of the months."""
    return at.dt.strftime("%Y-%m-01")


def test_what_was_told_late_is_where_it_belongs(built: Built) -> None:
    """No mart was made whole, and each holds, byte for byte, the rows that its SQL makes of everything."""
    whole = "select asset_key from progress.builds where tenant_id = '*' and inputs is not null and is_whole"
    assert built.rows(whole) == []
    compiled = {path.stem: path for path in built.settings.home.glob("dbt/*_test_warehouse_shop/compiled/**/*.sql")}
    for model in MARTS:
        columns = ", ".join(column.name for column in model.columns)
        there = built.rows(f"select t::text from (select {columns} from {'.'.join(model.key)}) as t order by 1")
        query = compiled[model.name].read_text(encoding="utf-8")
        anew = built.rows(f"select t::text from (select {columns} from ({query}) as m) as t order by 1")
        assert there, model.name
        assert there == anew, model.name


def test_a_line_costs_what_its_product_cost_then(built: Built) -> None:
    """The cost is the quantity at the cost price in force, in the order's currency; without one there is no profit."""
    lines = in_force(built.shop.lines, built.shop.costs, "product_id")
    known = lines["currency"] == lines["currency_told"]
    lines["cost"] = (lines["quantity"] * lines["cost_price"]).where(known, None)
    expected = sorted(
        zip(lines.order_id, lines.product_id, lines.revenue, lines.cost.astype(object), strict=True), key=str
    )

    assert 0 < known.sum() < len(lines)
    found = built.rows("select order_id, product_id, revenue, cost from marts.fct_order_lines")
    assert sorted(found, key=str) == [(*row[:3], None if pd.isna(row[3]) else row[3]) for row in expected]
    profit = sum(row[2] - row[3] for row in found if row[3] is not None)
    assert built.rows("select sum(profit) from marts.fct_orders") == [(profit,)]


def test_a_sale_earns_the_share_of_its_time(built: Built) -> None:
    """Commission is the share in force of each order less its refunds, and of each deal won."""
    sales = [
        {**order, "amount": order["revenue"] - built.shop.refunds.get(order["order_id"], 0)}
        for order in built.kept
        if "sales_representative_id" in order
    ]
    sold = in_force(sales + [{**deal, "currency": "EUR"} for deal in built.shop.deals], built.shop.shares,
                    "sales_representative_id")  # fmt: skip
    shares: list[Any] = sold["commission_rate"].tolist()
    sold["commission"] = sold["amount"] * pd.Series([Decimal(0) if pd.isna(share) else share for share in shares])
    sold["month"] = month(sold["at"])

    found = built.rows("select sales_representative_id, month_on::text, currency, commission "
                       "from marts.fct_sales_representative_months")  # fmt: skip
    assert {row[:3]: row[3] for row in found} == by(
        sold, ["sales_representative_id", "month", "currency"], "commission"
    )


def test_revenue_is_found_again_by_region_and_category(built: Built) -> None:
    """An order was sold where it says or where its store is, a product in the category that it is in now."""
    orders = pd.DataFrame(built.kept)
    orders["region"] = orders["region"].fillna(orders["store_id"].map(built.shop.store_regions))
    lines = pd.DataFrame(built.shop.lines)
    lines = lines[~lines["order_id"].isin(built.shop.cancelled)]
    lines["category"] = lines["product_id"].map(built.shop.categories)
    for rows in (orders, lines):
        rows["month"] = month(pd.to_datetime(rows["at"], utc=True))

    for table, column, rows in (
        ("fct_region_months", "region", orders),
        ("fct_category_performance", "category", lines),
    ):
        found = built.rows(f"select {column}, month_on::text, currency, revenue from marts.{table} where revenue > 0")
        assert {row[:3]: row[3] for row in found} == by(rows, [column, "month", "currency"], "revenue")


def test_customers_are_in_their_segments(built: Built) -> None:
    """Value and segment follow from the orders, in the currency of most of them, as of the newest event's day."""
    as_of = max(event.occurred_at for event in [*built.shop.first, *built.shop.late]).date()
    by_customer: dict[str, list[dict[str, Any]]] = {}
    for order in sorted(built.kept, key=lambda order: order["at"]):
        by_customer.setdefault(order["customer_id"], []).append(order)
    expected = {}
    for customer, orders in by_customer.items():
        counts = Counter(order["currency"] for order in orders)
        latest = {order["currency"]: order["at"] for order in orders}
        currency = max(counts, key=lambda name: (counts[name], latest[name]))
        same = [order for order in orders if order["currency"] == currency]
        value = sum(order["revenue"] - built.shop.refunds.get(order["order_id"], 0) for order in same)
        first, last = ((as_of - order["at"].date()).days for order in (orders[0], orders[-1]))
        known = {"Churned": last > 180, "At-Risk": last > 60, "New": first <= 30, "Premium": value >= 2500}
        segment = next((name for name, holds in known.items() if holds), "Regular")
        expected[customer] = (len(orders), currency, value, orders[-1]["at"], segment)

    found = built.rows("select customer_id, orders, currency, lifetime_value, last_ordered_at, segment "
                       "from marts.dim_customers where orders > 0")  # fmt: skip
    assert {row[0]: row[1:] for row in found} == expected
    history = "select age_band from marts.dim_customer_history where customer_id = 'c1' order by valid_from_at"
    assert built.rows(history) == [("20-29",), ("30-39",)]


def test_products_are_ranked_in_each_currency(built: Built) -> None:
    """A product sold in two currencies has a place among those of each, with what it brought there."""
    lines = [line for line in built.shop.lines if line["order_id"] not in built.shop.cancelled]
    orders = Counter(key[:2] for key in {(line["product_id"], line["currency"], line["order_id"]) for line in lines})
    revenue = by(pd.DataFrame(lines), ["product_id", "currency"], "revenue")
    places = {key: 1 + sum(revenue[other] > revenue[key] for other in revenue if other[1] == key[1]) for key in revenue}
    most = {product: currency for (product, currency), _ in sorted(orders.items(), key=lambda item: item[1])}
    assert {currency for _, currency in orders} == {"EUR", "USD"}

    found = built.rows("select product_id, currency, orders, revenue from marts.fct_product_sales")
    assert {row[:2]: row[2:] for row in found} == {key: (orders[key], revenue[key]) for key in revenue}
    found = built.rows("select product_id, currency, revenue_rank from marts.fct_product_rankings")
    assert {row[:2]: row[2] for row in found} == places
    assert dict(built.rows("select product_id, currency from marts.dim_products")) == most


def test_months_grow_against_the_month_before(built: Built) -> None:
    """A month's revenue is that of its orders and deals; it grows against that of the one before, if both are over."""
    amounts = [*built.kept, *({**deal, "revenue": deal["amount"], "currency": "EUR"} for deal in built.shop.deals)]
    rows = pd.DataFrame(amounts)
    rows = rows[rows["currency"] == "EUR"]
    revenue = rows.groupby(month(pd.to_datetime(rows["at"], utc=True)))["revenue"].sum()
    growth = {
        now: round((revenue[now] - revenue[before]) / revenue[before], 6)
        for before, now in zip(revenue.index, revenue.index[1:], strict=False)
    }

    found = built.rows("select starts_on::text, revenue, growth, is_complete from marts.fct_revenue_periods "
                       "where grain = 'month' and currency = 'EUR' order by 1")  # fmt: skip
    assert {row[0]: row[1] for row in found} == revenue.to_dict()
    assert [row[3] for row in found] == [False, *[True] * (len(found) - 2), False]
    assert {row[0]: row[2] for row in found[2:-1]} == {row[0]: growth[row[0]] for row in found[2:-1]}
    assert {row[2] for row in (found[0], found[1], found[-1])} == {None}


def test_cohorts_count_who_came_back(built: Built) -> None:
    """Customers of a month of first order, and those of them who ordered in a later month, in each currency."""
    orders = pd.DataFrame(built.kept)
    orders["month"] = month(pd.to_datetime(orders["at"], utc=True))
    orders["cohort"] = orders.groupby(["customer_id", "currency"])["month"].transform("min")
    expected = orders.groupby(["cohort", "currency", "month"])["customer_id"].nunique().to_dict()

    found = built.rows("select cohort_month_on::text, currency, month_on::text, retained "
                       "from marts.fct_customer_cohorts where retained > 0")  # fmt: skip
    assert {row[:3]: row[3] for row in found} == expected
