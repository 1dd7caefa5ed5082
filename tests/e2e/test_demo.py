"""From nothing to a materialized lineage: totals by hand, sagas and files by the daemon, recovery after kill -9."""

from __future__ import annotations

import json
import os
import signal
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pandas as pd
import psutil
import pytest

from analytics_pipelines.ingestion import grocer, simulator
from analytics_pipelines.ingestion.demo import SIMULATED_EVENTS, SIMULATED_SEED

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg_pool import ConnectionPool

    from tests.e2e.conftest import Demo

DAEMON_SECONDS = 150


def one(pool: ConnectionPool, query: str, *values: object) -> tuple[Any, ...]:
    with pool.connection() as connection:
        row = connection.execute(query, values).fetchone()
    assert row is not None
    return row


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DAEMON_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {DAEMON_SECONDS} s"
        time.sleep(1)


def test_every_asset_of_the_catalog_is_materialized(demo: Demo) -> None:
    """The first build makes every asset of the lineage, none fails, all to one position."""
    from analytics_pipelines.definitions import defs

    report = demo.first_build
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    catalog = {key for key in keys if not key.startswith("reports/")}  # made weekly, for people
    assert report["failures"] == []
    assert set(report["made"]) == catalog
    assert len({asset["built_to_position"] for asset in report["assets"]}) == 1
    assert {asset["asset"] for asset in report["assets"]} == {key for key in catalog if not key.startswith("sources/")}


def test_order_lines_and_revenue_equal_the_source_files(demo: Demo, demo_pool: ConnectionPool) -> None:
    """The mart's rows and revenue are those of pandas over the package's Parquet file, to the cent."""
    source = pd.read_parquet(
        grocer.data_folder() / "transactions.parquet", columns=["sales_value", "basket_id", "household_id"]
    )
    found = one(
        demo_pool,
        "select count(*), sum(revenue), count(distinct order_id), count(distinct customer_id) "
        "from marts.fct_order_lines where tenant_id = 'grocer'",
    )
    assert found == (
        len(source),
        Decimal(round(source.sales_value.sum() * 100)) / 100,
        source.basket_id.nunique(),
        source.household_id.nunique(),
    )
    assert found[:2] == (1_469_307, Decimal("4596039.58"))


def test_revenue_is_the_same_wherever_it_is_added_up(demo: Demo, demo_pool: ConnectionPool) -> None:
    """Lines, orders, hours, days, periods, customers, cohorts, products, categories and stores tell one revenue."""
    total = Decimal("4596039.58")
    for table in (
        "fct_order_lines",
        "fct_orders",
        "fct_order_days",
        "fct_hourly_revenue",
        "fct_daily_revenue",
        "dim_customers",
        "fct_customer_cohorts",
        "dim_products",
        "fct_category_performance",
        "dim_stores",
        "fct_store_months",
    ):
        assert one(demo_pool, f"select sum(revenue) from marts.{table} where tenant_id = 'grocer'") == (total,), table
    periods = "select grain, sum(revenue) from marts.fct_revenue_periods where tenant_id = 'grocer' group by grain"
    with demo_pool.connection() as connection:
        assert {row[1] for row in connection.execute(periods).fetchall()} == {total}


def test_households_and_categories_equal_the_source_files(demo: Demo, demo_pool: ConnectionPool) -> None:
    """Baskets and revenue of each household, and the revenue of each category by month, are those of pandas."""
    folder = grocer.data_folder()
    columns = ["household_id", "basket_id", "product_id", "sales_value", "transaction_timestamp"]
    source = pd.read_parquet(folder / "transactions.parquet", columns=columns)
    source["cents"] = (source["sales_value"] * 100).round().astype("int64")
    source["month"] = source["transaction_timestamp"].dt.strftime("%Y-%m-01")
    products = pd.read_parquet(folder / "products.parquet", columns=["product_id", "department", "product_category"])
    named = source.merge(products, on="product_id", how="left")
    named = named.fillna({"department": "unknown", "product_category": "unknown"})
    households = source.groupby("household_id").agg(orders=("basket_id", "nunique"), cents=("cents", "sum"))
    categories = named.groupby(["month", "department", "product_category"])["cents"].sum()
    with demo_pool.connection() as connection:
        found = connection.execute(
            "select customer_id::integer, orders, (revenue * 100)::bigint from marts.dim_customers "
            "where tenant_id = 'grocer'"
        ).fetchall()
        sold = connection.execute(
            "select month_on::text, department, category, (revenue * 100)::bigint "
            "from marts.fct_category_performance where tenant_id = 'grocer'"
        ).fetchall()
    assert {row[0]: row[1:] for row in found} == dict(
        zip(households.index, households.itertuples(index=False, name=None), strict=True)
    )
    assert {row[:3]: row[3] for row in sold} == categories.to_dict()


def test_campaigns_of_the_grocer_equal_the_source_files(demo: Demo, demo_pool: ConnectionPool) -> None:
    """Sends and redemptions of each of the 27 campaigns are those of pandas."""
    sends = pd.read_parquet(grocer.data_folder() / "campaigns.parquet").groupby("campaign_id").size()
    redeemed = pd.read_parquet(grocer.data_folder() / "coupon_redemptions.parquet").groupby("campaign_id").size()
    with demo_pool.connection() as connection:
        rows = connection.execute(
            "select campaign_id::integer, sends, coupons_redeemed from marts.dim_campaigns where tenant_id = 'grocer'"
        ).fetchall()
    assert len(rows) == 27
    assert {row[0]: row[1] for row in rows if row[1]} == sends.to_dict()
    assert {row[0]: row[2] for row in rows if row[2]} == redeemed.to_dict()


def test_the_simulated_company_equals_the_truth_of_its_simulator(demo: Demo, demo_pool: ConnectionPool) -> None:
    """Counts by type, won deals, order revenue and the experiment's conversions are those that were simulated."""
    truth = simulator.truth(SIMULATED_EVENTS, SIMULATED_SEED)
    with demo_pool.connection() as connection:
        counts = connection.execute(
            "select event_type, count(*) from event_log.events where tenant_id = 'saas' and source = %s group by 1",
            [next(simulator.simulate(1, SIMULATED_SEED)).source],
        ).fetchall()
        variants = connection.execute(
            "select variant, exposures, conversions from marts.fct_experiment_variants where tenant_id = 'saas'"
        ).fetchall()
    assert dict(counts) == {name: count for name, count in truth.counts.items() if count}
    assert {row[0]: row[1] for row in variants} == dict(truth.exposed)
    assert {row[0]: row[2] for row in variants} == dict(truth.converted)
    won = one(demo_pool, "select sum(won_amount) from marts.fct_deals where tenant_id = 'saas' and status = 'won'")
    assert won == (truth.deals_won,)
    ordered = one(demo_pool, "select sum(order_revenue) from marts.fct_daily_revenue where tenant_id = 'saas'")
    assert ordered == (truth.order_revenue,)
    planted = truth.counts
    closed = planted["deal_won"] + planted["deal_lost"]
    executions = planted["agent_execution_completed"] + planted["agent_execution_failed"]
    for query, expected in {
        "select sum(value) from marts.fct_experiment_metrics": (sum(truth.minutes_saved.values()),),
        "select count(*) filter (where is_given and has_ended) from marts.fct_sessions": (planted["session_ended"],),
        "select sum(sessions), sum(executions_started) from marts.dim_users": (
            planted["session_started"],
            planted["agent_execution_started"],
        ),
        "select count(*) filter (where role = 'bot' and sessions > 0) from marts.dim_users": (0,),
        "select count(*) filter (where is_bot <> (role = 'bot')) from marts.dim_users": (0,),
        "select sum(executions) from marts.fct_agent_days": (executions,),
        "select count(*) from marts.fct_deal_stages": (
            planted["deal_opened"] + planted["deal_stage_changed"] + closed,
        ),
        "select sum(deals_won), sum(deals_won + deals_lost) from marts.fct_win_rates": (planted["deal_won"], closed),
        "select sum(revenue) filter (where attribution_model = 'first') = sum(revenue)"
        " filter (where attribution_model = 'last') from marts.fct_campaign_attribution": (True,),
        "select count(created_at), sum(emails_replied) from marts.dim_leads": (
            planted["lead_created"],
            planted["email_replied"],
        ),
        "select count(*) from marts.dim_companies": (planted["company_created"],),
        "select sum(emails_sent), sum(emails_clicked) from marts.fct_campaign_days": (
            planted["email_sent"],
            planted["email_clicked"],
        ),
    }.items():
        assert one(demo_pool, f"{query} where tenant_id = 'saas'") == expected, query


def test_sending_everything_again_changes_nothing(demo: Demo, demo_pool: ConnectionPool) -> None:
    """Accepted + duplicates + quarantined == sent, and a second sending is duplicates only."""
    simulated = "select count(*) from event_log.events where tenant_id = 'saas' and event_type not like 'saga%%'"
    events = one(demo_pool, f"{simulated} and event_type not like 'c%%'")  # sagas append some of those meanwhile
    again = json.loads(demo.run("simulate", "--events", "100000", "--seed", "1", "--json"))
    assert (again["accepted"], again["duplicates"], again["quarantined"]) == (0, 100_000, 0)
    assert one(demo_pool, f"{simulated} and event_type not like 'c%%'") == events


def test_the_daemon_brings_sagas_to_their_end(demo: Demo, demo_pool: ConnectionPool) -> None:
    """The sensor fires a job for each request: one launch completes, one has no audience and is compensated."""

    def ended() -> bool:
        return {row["status"] for row in json.loads(demo.run("sagas", "list", "--json"))} == {
            "completed",
            "compensated",
        }

    wait_until(ended, "two sagas end")
    with demo_pool.connection() as connection:
        types = connection.execute(
            "select event_type, count(*) from event_log.events where tenant_id = 'saas' and "
            "(event_type like 'saga%%' or event_type like 'credits_re%%') group by 1"
        ).fetchall()
    assert dict(types)["saga_completed"] == 1
    assert dict(types)["saga_compensated"] == 1
    assert dict(types)["credits_reserved"] == 2
    assert dict(types)["credits_released"] == 1


def test_a_landed_file_reaches_the_tables_by_itself(demo: Demo, demo_pool: ConnectionPool) -> None:
    """A file put into the landing folder is ingested and everything that derives from it is built by the daemon."""
    folder = demo.home / "landing" / "landed"
    folder.mkdir(parents=True)
    order = {
        "specversion": "1.0", "id": "1", "source": "readme", "type": "order_placed", "subject": "order-1",
        "time": "2017-06-01T12:00:00Z",
        "data": {"order_id": "1", "customer_id": "ada", "channel": "online", "currency": "EUR",
                 "lines": [{"product_id": "tea", "quantity": 2, "revenue": 9.9}]},
    }  # fmt: skip
    (folder / "orders.jsonl.part").write_text(json.dumps(order) + "\nnot an event\n")
    (folder / "orders.jsonl.part").rename(folder / "orders.jsonl")

    def arrived() -> bool:
        with demo_pool.connection() as connection:
            return connection.execute(
                "select revenue from marts.fct_orders where tenant_id = 'landed' and order_id = '1'"
            ).fetchall() == [(Decimal("9.9"),)]

    wait_until(arrived, "the landed order reaches the mart")
    assert (folder / "done" / "orders.jsonl").exists()
    assert one(demo_pool, "select kind, origin from event_log.quarantine where tenant_id = 'landed'") == (
        "malformed", "orders.jsonl:2"
    )  # fmt: skip


def test_nothing_new_means_nothing_to_do(demo: Demo) -> None:
    """A build after a build makes no asset."""
    demo.build()
    assert demo.build()["made"] == []


def test_after_kill_9_of_everything_it_recovers(demo: Demo, demo_pool: ConnectionPool) -> None:
    """A build, servers, UI and daemon killed at once: up starts them again, with every row, and a build completes."""
    wait_until(lambda: demo.unfinished_runs() == [], "all runs end")
    before = one(demo_pool, "select count(*) from event_log.events")
    building = demo.start("build", "--all")
    wait_until(lambda: demo.unfinished_runs() == ["STARTED"], "the build begins")
    building.kill()
    building.wait()
    servers = json.loads(demo.run("status", "--json"))["servers"]
    pids = {name: server["pid"] for name, server in servers.items()}
    assert set(pids) == {"postgres", "redis", "webserver", "daemon", "docs"}
    for pid in pids.values():
        os.kill(pid, signal.SIGKILL)
    for pid in pids.values():
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
    assert "cannot be used" in demo.run("build", code=1)
    demo.run("status", code=1)
    demo.run("up", "--ui")
    again = json.loads(demo.run("status", "--json"))["servers"]
    assert all(server["state"] == "running" and server["pid"] != pids[name] for name, server in again.items())
    demo_pool.check()
    assert one(demo_pool, "select count(*) from event_log.events") >= before
    wait_until(lambda: demo.unfinished_runs() == [], "the killed run is ended and tried again")
    assert demo.build()["failures"] == []
    assert demo.build()["made"] == []


def test_status_tells_the_port_that_the_ui_has(demo: Demo) -> None:
    """Whoever asks need not know on which port it was started; the servers are healthy without that."""
    environment = {name: value for name, value in demo.environment.items() if name != "PIPELINES_UI_PORT"}
    asked = type(demo)(demo.home, demo.url, {}, environment).run("status", "--json")
    assert json.loads(asked)["servers"]["webserver"]["address"] == demo.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "PIPELINES_DATABASE_URL",
            "postgresql://pipelines:wrong@127.0.0.1:1/pipelines",
            "Postgres at 127.0.0.1:1 cannot",
        ),
        ("PIPELINES_UI_PORT", "http", "PIPELINES_UI_PORT: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line(demo: Demo, variable: str, value: str, words: str) -> None:
    """What is wrong, where, and what to do, in one line, with exit code 1 and no traceback."""
    broken = {**demo.environment, variable: value}
    demo_with = type(demo)(demo.home, demo.url, {}, broken)
    printed = demo_with.run("build", code=1).strip()
    assert printed.startswith(f"error: {words}")
    assert "\n" not in printed
