"""Marts that are brought up to date by what new events touched: on a real Postgres, by real dbt runs.

One warehouse goes through it all: built, interrupted while it is brought up to date, brought up to date, and partly
made anew. The tests look at what was written down on the way.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from analytics_pipelines import connections, progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.assets import MODELS
from tests.integration.test_warehouse_build import EVENTS, TEMPLATE, database, event, fill, line, order
from tests.integration.warehouse_app_events import LATE_APP_EVENTS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

MARTS = [".".join(model.key) for model in MODELS if model.materialization == "incremental"]
MONTHS_AGO = datetime(2025, 12, 2, 12, tzinfo=UTC)
IN_JANUARY, IN_FEBRUARY = datetime(2026, 1, 9, 12, tzinfo=UTC), datetime(2026, 2, 9, 12, tzinfo=UTC)


def deal(number: int, event_type: str, deal_id: str, occurred_at: datetime, seller: str = "ann") -> NewEvent:
    """Return an event of a seller's deal."""
    data = {"deal_id": deal_id, "lead_id": "n", "amount": 100, "currency": "EUR", "sales_representative_id": seller}
    return replace(event(number, event_type, f"deal-{deal_id}", 1, **data), occurred_at=occurred_at)


# Months without an order: what is told late of them are a deal won in the one, and Ann's share in the other.
EARLY = [
    deal(51, "deal_opened", "january", IN_JANUARY),
    deal(52, "deal_opened", "february", IN_JANUARY),
    deal(53, "deal_won", "february", IN_FEBRUARY),
    # On the calendar's first day, until something earlier is told.
    deal(58, "deal_won", "first", IN_JANUARY.replace(day=8), "bob"),
]
LATE = [
    event(20, "order_cancelled", "order-till", 9, order_id="till", reason="broken"),
    event(21, "order_refunded", "order-returned", 2, order_id="returned", amount=Decimal("1.50")),
    event(22, "deal_lost", "deal-d", 8, deal_id="d", lead_id="l", reason="price"),
    order(23, "new", 8, line("cup", "3.00")),
    event(24, "product_added", "product-pot", 3, product_id="pot", name="Pot", department="Kitchen"),
    event(25, "experiment_exposed", "lead-m", 1, experiment_id="x", subject_id="m", variant="blue"),
    # An order that moves to another day, as it was placed before; and one that nobody has heard of for 90 days.
    # The share of a seller, likewise.
    *(
        replace(placed, occurred_at=MONTHS_AGO)
        for placed in (
            order(26, "returned", 2, line("cup", "8")),
            order(27, "old", 2, line("tea", "7")),
            event(
                55,
                "commission_rate_changed",
                "sales-ann",
                2,
                sales_representative_id="ann",
                commission_rate=Decimal("0.1"),
            ),
        )
    ),
    # Lines that were added, all taken off, and sent back.
    event(41, "order_line_added", "order-returned", 5, order_id="returned", **line("jam", "15")),
    event(42, "order_line_removed", "order-regretted", 2, order_id="regretted", product_id="tea"),
    event(43, "order_line_returned", "order-till", 7, order_id="till", product_id="cup", quantity=1, refund=Decimal(2)),
    event(28, "customer_registered", "customer-bob", 9, customer_id="bob"),
    deal(54, "deal_won", "january", IN_JANUARY),
    # An hour that another one, of a day that is not touched, is compared with.
    deal(56, "deal_opened", "past", IN_JANUARY.replace(year=2025), "bob"),
    deal(57, "deal_won", "past", IN_FEBRUARY.replace(year=2025), "bob"),
    *LATE_APP_EVENTS,
]


@dataclass
class Story:
    """What became of one warehouse.

    Attributes:
        settings: its database.
        first: every row of every mart after the first build, with its place.
        second: the same after it was brought up to date.
        accounts: of each mart, after it was brought up to date: whether it was made whole, and the rows restated.
        torn: what readers found meanwhile that nobody should find.
        reads: how often they looked.
    """

    settings: Settings
    first: dict[str, dict[str, str]] = field(default_factory=dict)
    second: dict[str, dict[str, str]] = field(default_factory=dict)
    accounts: dict[str, tuple[bool, int]] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)
    reads: int = 0


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    with psycopg.connect(connections.admin_url(settings)) as connection:
        return connection.execute(query.encode()).fetchall()


def marts(settings: Settings) -> dict[str, dict[str, str]]:
    """Return every row of every mart, as text, with the place where it is kept."""
    found = {mart: rows(settings, f"select t.*::text, ctid::text || xmin::text from {mart} as t") for mart in MARTS}
    return {mart: dict(sorted(there)) for mart, there in found.items()}


def names() -> list[str]:
    """Return the names of all models."""
    return [model.name for model in MODELS]


def build(settings: Settings, extent: dbt.Extent = dbt.TOUCHED) -> None:
    """Build all models without their tests."""
    up_to = rows(settings, "select max(up_to_position) from progress.pins")[0][0]
    for result in dbt.build(settings, names(), up_to_position=up_to, extent=extent):
        assert result.status == "success", result.message


def interrupt(settings: Settings) -> None:
    """Begin to build all models as a run pinned before the newest events, and kill dbt when some marts are done."""
    up_to = rows(settings, "select min(up_to_position) from progress.pins")[0][0]
    results = dbt.build(settings, names(), up_to_position=up_to)
    of_events = {"fct_agent_days", "fct_campaign_touches", "fct_usage_hours"}
    for result in results:
        of_events.discard(result.unique_id.split(".")[2])
        if not of_events:
            break
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a backend of the server, which has ended meanwhile
            if "dbt.cli.main" in " ".join(child.cmdline()):
                child.kill()
    with pytest.raises(PipelinesError, match="dbt could not run"):
        list(results)


@contextmanager
def reading(story: Story, *allowed: set[int]) -> Generator[None]:
    """Read the lines and a view upon the orders without a pause: nothing but these numbers of rows may be found."""
    ended = threading.Event()

    def read() -> None:
        with psycopg.connect(connections.admin_url(story.settings), autocommit=True) as connection:
            while not ended.is_set():
                try:
                    for relation, counts in zip(
                        ("marts.fct_order_lines", "intermediate.orders_shown"), allowed, strict=True
                    ):
                        found = connection.execute(f"select count(*) from {relation}".encode()).fetchone()
                        story.reads += 1
                        if found is None or found[0] not in counts:
                            story.torn.append(f"{relation}: {found}")
                except psycopg.Error as error:
                    story.torn.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def story(servers: Settings) -> Iterator[Story]:
    """A warehouse that was built, interrupted, brought up to date, and of which some marts were then made anew."""
    with database(servers, "test_incremental", TEMPLATE) as settings:
        story = Story(settings)
        fill(settings, [*EARLY, *EVENTS])
        build(settings)
        with psycopg.connect(connections.admin_url(settings)) as connection:
            connection.execute("set local role pipelines_runtime")
            connection.execute("create view intermediate.orders_shown with (security_invoker = true) as "
                               "select order_id, revenue from marts.fct_orders as placed")  # fmt: skip
            connection.execute("grant select on intermediate.orders_shown to bi_reader")
        story.first = marts(settings)
        fill(settings, LATE, "late")
        with reading(story, {5, 7}, {3, 5}):
            interrupt(settings)
            build(settings)
        story.second = marts(settings)
        accounts = rows(settings, "select replace(asset_key, '/', '.'), is_whole, restated from progress.builds "
                                  "where tenant_id = '*' and inputs is not null")  # fmt: skip
        story.accounts = {mart: (is_whole, restated) for mart, is_whole, restated in accounts}
        yield story


def test_incremental_is_a_full_refresh(servers: Settings, story: Story) -> None:
    """Brought up to date after late events, marts are byte for byte those of one build.

    Even if another run, which was pinned before these events, built some marts meanwhile and was killed.
    """
    assert not any(is_whole for is_whole, _ in story.accounts.values())
    with database(servers, "test_incremental_whole", TEMPLATE) as settings:
        fill(settings, [*LATE[::-1], *EVENTS[::-1], *EARLY[::-1]])
        build(settings)
        whole = marts(settings)
    for mart in MARTS:
        assert list(story.second[mart]) == list(whole[mart]), mart
    assert {mart for mart in MARTS if list(story.second[mart]) == list(story.first[mart])} == {
        "marts.dim_stores",
    }


def test_a_month_is_touched_by_the_deals_and_the_shares_in_it(story: Story) -> None:
    """A deal won, or a share agreed on, long ago is paid in its month, which no order touches."""
    paid = rows(story.settings, "select month_on, deals_won, commission from marts.fct_sales_representative_months "
                                "where sales_representative_id = 'ann' order by month_on")  # fmt: skip
    assert paid == [(date(2026, 1, 1), 1, 10), (date(2026, 2, 1), 1, 10)]


def test_an_hour_is_touched_by_those_it_is_compared_with(story: Story) -> None:
    """Revenue that is told late gives the same hour of the year after, which no event touches, its growth."""
    grown = rows(story.settings, "select hour_at, growth_on_last_year from marts.fct_hourly_revenue "
                                 "where last_year_revenue is not null")  # fmt: skip
    assert grown == [(IN_FEBRUARY, 0)]


def test_only_what_differs_is_written(story: Story) -> None:
    """A row that is as it was keeps its place; the account tells how many were changed or removed."""
    for mart in MARTS:
        first, second = story.first[mart], story.second[mart]
        assert {row: place for row, place in second.items() if row in first} == {
            row: place for row, place in first.items() if row in second
        }, mart
        assert story.accounts[mart][1] <= len(set(first) - set(second)), mart


def test_what_is_told_follows_what_is_read(story: Story) -> None:
    """After a build nothing is left unread and every mart is fresh; new events make stale those that read them.

    The turn of a tenant's day makes stale what counts days back from it, and what is made of that.
    """
    stale = "select distinct mart from marts.mart_status where not is_fresh"
    assert rows(story.settings, "select count(*) from progress.touched") == [(0,)]
    assert rows(story.settings, stale) == []

    fill(story.settings, [event(30, "deal_lost", "deal-e", 8, deal_id="e", lead_id="l", reason="price")], "more")

    assert {mart for (mart,) in rows(story.settings, stale)} == {
        "dim_campaigns", "dim_companies", "dim_dates", "dim_leads", "dim_sales_representatives",
        "fct_attributed_conversions", "fct_campaign_attribution", "fct_daily_revenue", "fct_deal_stages",
        "fct_deals", "fct_hourly_revenue", "fct_pipeline_stages", "fct_region_months", "fct_revenue_periods",
        "fct_sales_representative_months", "fct_win_rates",
    }  # fmt: skip

    # Nothing that customers do: another day alone.
    fill(story.settings, [event(31, "introduction_made", "lead-l", 31, introducer_id="l", introduced_id="m")], "day")

    assert {mart for (mart,) in rows(story.settings, stale)} >= {"dim_customers", "fct_customer_segments"}


def test_a_change_of_code_a_lost_row_and_chosen_days_are_made_anew(story: Story) -> None:
    """Other SQL makes a mart whole, with what is made of it; a lost key goes; chosen days come back, lost or wrong."""
    settings = story.settings
    with psycopg.connect(connections.admin_url(settings)) as connection:
        connection.execute("update progress.builds set made_by = 'other SQL' where asset_key = 'marts/fct_orders'")
        connection.execute("update marts.fct_deals set lost_reason = 'wrong' where deal_id = 'd'")
        lost = connection.execute("delete from marts.fct_agent_days where executed_on = '2026-03-04'").rowcount
        assert lost > 0
        table = connection.execute("select table_name from information_schema.view_table_usage "
                                   "where view_name = 'order_contents'").fetchone()  # fmt: skip
        assert table is not None
        connection.execute(f"delete from read_models.{table[0]} where order_id = 'new'".encode())
        progress.note_change(connection, "read_models/order_contents")

    with reading(story, {6, 7}, {4, 5}):
        build(settings, dbt.Extent(date(2026, 3, 4), date(2026, 3, 8)))

    whole = rows(settings, "select split_part(asset_key, '/', 2) from progress.builds "
                           "where tenant_id = '*' and inputs is not null and is_whole order by 1")  # fmt: skip
    assert {name for (name,) in whole} == {
        "dim_campaigns", "dim_customers", "dim_products", "dim_sales_representatives", "dim_stores",
        "fct_attributed_conversions", "fct_campaign_attribution", "fct_category_performance", "fct_customer_cohorts",
        "fct_category_days", "fct_customer_months", "fct_customer_segments", "fct_product_sales",
        "fct_daily_revenue", "fct_hourly_revenue", "fct_order_days", "fct_order_lines", "fct_orders",
        "fct_product_rankings", "fct_refunds", "fct_region_months", "fct_revenue_periods",
        "fct_sales_representative_months", "fct_store_months", "int_daily_amounts", "int_hourly_amounts",
        "int_region_months",
    }  # fmt: skip
    assert rows(settings, "select count(*) from marts.fct_orders where order_id = 'new'") == [(0,)]
    assert rows(settings, "select lost_reason from marts.fct_deals where deal_id = 'd'") == [("price",)]
    agent_days = "select count(*) from marts.fct_agent_days where executed_on = '2026-03-04'"
    assert rows(settings, agent_days) == [(lost,)]
    assert rows(settings, "select relacl::text like '%bi_reader=r%', reloptions from pg_class "
                          "where relname = 'orders_shown'") == [(True, ["security_invoker=true"])]  # fmt: skip
    assert rows(settings, "select indexname from pg_indexes where tablename = 'fct_orders' order by 1") == [
        ("fct_orders_tenant_id_customer_id_ordered_at_idx",),
        ("fct_orders_tenant_id_month_on_idx",),
        ("fct_orders_tenant_id_order_id_idx",),
        ("fct_orders_tenant_id_ordered_on_idx",),
        ("fct_orders_tenant_id_store_id_idx",),
    ]


def test_readers_find_whole_tables(story: Story) -> None:
    """During all these builds readers found the rows of before or of after, and no error."""
    assert story.reads > 0
    assert story.torn == []


def test_half_a_range_of_days_is_refused() -> None:
    """A first day without a last one, or after it, is an error that says so."""
    with pytest.raises(PipelinesError, match="give both"):
        dbt.Extent(first_day=date(2026, 3, 8))
    with pytest.raises(PipelinesError, match="in this order"):
        dbt.Extent(date(2026, 3, 8), date(2026, 3, 7))
