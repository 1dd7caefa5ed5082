"""Real data, brought in as tenants of their own: the marts say what pandas says of the original files.

The catalog's events cannot carry everything in them, which is told where it is so: maven-crm's deals without a date
or an account are refused, with the reason; its accounts and people have no moment at which they became known.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import psycopg
import pytest
import yaml
from dagster import materialize

from analytics_pipelines import connections, progress
from analytics_pipelines.ingestion.files import ingest_file
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform
from analytics_pipelines.settings import PROJECT_FOLDER
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.assets import ASSETS, MODELS
from tests.integration.test_warehouse_build import TEMPLATE, database

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import BatchResult
    from analytics_pipelines.settings import Settings

REAL = Path(os.environ.get("SHARED_DATA", PROJECT_FOLDER.parent / "shared" / "data"))
TWINS = {"maven": "maven_twin", "cdnow_sample": "cdnow_sample_twin"}
"""Tenants with the same data, of which the second was sent shuffled, in pieces, and in part twice."""
INTERRUPTED_AFTER = {"fct_deals", "fct_orders"}

DEALS = """
source: maven
event_type: {event_type}
event_id: "{{opportunity_id}}-{event_type}"
stream: deal-{{opportunity_id}}
occurred_at: {moment}
filters: [{{column: {column}, values: {values}}}]
data:
  deal_id: opportunity_id
  lead_id: account
  sales_representative_id: sales_agent
"""
WON = "  amount: {column: close_value, type: decimal}\n  currency: {value: USD}\n"
LOST = "  reason: {value: not told}\n"


@dataclass(frozen=True)
class Truth:
    """The marts, and the files they come from."""

    settings: Settings
    deals: pd.DataFrame
    purchases: pd.DataFrame
    sample: pd.DataFrame
    sessions: pd.DataFrame
    sent: dict[str, BatchResult]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds, sorted."""
        with psycopg.connect(connections.admin_url(self.settings)) as connection:
            return sorted(connection.execute(query.encode(), values or None).fetchall())


def maven_mapping(file: Path) -> Path:
    """Write how a row of the sales pipeline becomes events.

    A deal is opened with a lead, which is the account, for the list price of its product: the files name no other
    expectation. They know "GTX Pro" as "GTXPro", too.
    """
    products = pd.read_csv(REAL / "maven-crm" / "products.csv")
    documents: list[str] = []
    for name, price in zip(products["product"], products["sales_price"], strict=True):
        names = ["GTX Pro", "GTXPro"] if name == "GTX Pro" else [name]
        opened = {"event_type": "deal_opened", "moment": "engage_date", "column": "product", "values": names}
        documents.append(DEALS.format(**opened) + f"  amount: {{value: {price}}}\n  currency: {{value: USD}}\n")
    won = {"event_type": "deal_won", "moment": "close_date", "column": "deal_stage", "values": ["Won"]}
    lost = {"event_type": "deal_lost", "moment": "close_date", "column": "deal_stage", "values": ["Lost"]}
    documents += [DEALS.format(**won) + WON, DEALS.format(**lost) + LOST]
    assert all(yaml.safe_load(document) for document in documents)
    file.write_text("---\n".join(documents), encoding="utf-8")
    return file


def event(number: int, event_type: str, stream: str, at: str, data: dict[str, Any]) -> str:
    """Return a CloudEvent as a line."""
    envelope = {"specversion": "1.0", "id": f"{event_type}-{number}", "source": "file", "type": event_type}
    return json.dumps({**envelope, "subject": stream, "time": at, "data": data})


def purchase_events(purchases: pd.DataFrame) -> Iterator[str]:
    """Yield each purchase of CDs as an order of one line; the day is all that is known of its moment."""
    columns = ["customer", "day", "units", "value"]
    for number, customer, day, units, value in purchases[columns].itertuples(name=None):
        line = {"product_id": "cd", "quantity": int(units), "revenue": float(value)}
        order = {"order_id": str(number), "customer_id": customer, "channel": "online", "currency": "USD"}
        at = f"{day[:4]}-{day[4:6]}-{day[6:]}T00:00:00Z"
        yield event(number, "order_placed", f"order-{number}", at, {**order, "lines": [line]})


def session_events(sessions: pd.DataFrame) -> Iterator[str]:
    """Yield begin and end of each session; the catalog knows no view of a product, and no visitor without a name."""
    for number, (session, first, last, user) in enumerate(sessions.itertuples(name=None)):
        told = {"session_id": str(session), "user_id": user, "workspace_id": "shop"}
        yield event(number, "session_started", f"session-{session}", first.isoformat(), told)
        told["duration_ms"] = int((last - first).total_seconds() * 1000)
        yield event(number, "session_ended", f"session-{session}", last.isoformat(), told)


def cdnow(name: str, columns: list[str], first_row: int) -> pd.DataFrame:
    """Read a fixed-width file of CDNOW, every value as text."""
    return pd.read_csv(
        REAL / "cdnow" / name, sep=r"\s+", header=None, skiprows=first_row, names=columns, dtype=str, engine="c"
    )


def read_sessions() -> pd.DataFrame:
    """Read when each session of diginetica began and ended, and whose it was.

    A view tells its day, and its moment as the time since the session began: midnight is taken for that.
    """
    views = pd.read_csv(REAL / "diginetica" / "sample_train-item-views.csv", sep=";", dtype={"user_id": str})
    first_day = views.groupby("session_id")["eventdate"].transform("min")
    views["at"] = pd.to_datetime(first_day, utc=True) + pd.to_timedelta(views["timeframe"], unit="ms")
    sessions = views.groupby("session_id").agg(first=("at", "min"), last=("at", "max"), user=("user_id", "first"))
    nobody = "nobody-" + sessions.index.astype(str).to_series(index=sessions.index)
    return sessions.assign(user=sessions["user"].fillna(nobody))


@pytest.fixture(scope="module")
def truth(servers: Settings, instance: DagsterInstance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    """All the real data in one database, with the marts of them, made by one run."""
    for name in ("maven-crm", "cdnow", "diginetica"):
        if not (REAL / name).is_dir():
            pytest.skip(f"the real data set {name} is not at {REAL / name}")
    folder = tmp_path_factory.mktemp("real")
    purchases = cdnow("CDNOW_master.txt", ["customer", "day", "units", "value"], 1)
    sample = cdnow("CDNOW_sample.txt", ["customer", "number", "day", "units", "value"], 0)
    sample = sample[sample["day"] <= "19970930"]
    deals, sessions = REAL / "maven-crm" / "sales_pipeline.csv", read_sessions()
    with database(servers, "test_source_truth", TEMPLATE) as settings:
        mapping = maven_mapping(folder / "maven.yaml")
        with connections.open_pool(settings) as pool:
            twins = send_twins(pool, folder, deals, sample, mapping)
            next(twins)
            interrupted(pool, settings)
            for _ in twins:
                pass
            sent = {
                "maven": ingest_file(pool, "maven", deals, mapping),
                "cdnow": ingest_file(pool, "cdnow", lines(folder, "cdnow", purchase_events(purchases))),
                "cdnow_sample": ingest_file(pool, "cdnow_sample", lines(folder, "sample", purchase_events(sample))),
                "diginetica": ingest_file(pool, "diginetica", lines(folder, "sessions", session_events(sessions))),
            }
            build(pool, settings, instance)
        yield Truth(settings, pd.read_csv(deals), purchases, sample, sessions, sent)


def lines(folder: Path, name: str, found: Iterable[str]) -> Path:
    """Write a file of CloudEvents, one a line."""
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(found), encoding="utf-8")
    return file


def pieces(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows shuffled, in three pieces, of which the second comes again in the end, in another order."""
    shuffled = frame.sample(frac=1, random_state=1)
    third = len(shuffled) // 3
    middle = shuffled[third : 2 * third]
    return [shuffled[2 * third :], middle, shuffled[:third], middle.sample(frac=1, random_state=2)]


def send_twins(pool: ConnectionPool, folder: Path, deals: Path, sample: pd.DataFrame, mapping: Path) -> Iterator[None]:
    """Send the twins' data piece by piece."""
    parts = zip(pieces(pd.read_csv(deals, dtype=str)), pieces(sample), strict=True)
    for number, (some_deals, some_purchases) in enumerate(parts):
        file = folder / f"deals-{number}.csv"
        some_deals.to_csv(file, index=False)
        ingest_file(pool, TWINS["maven"], file, mapping)
        events = purchase_events(some_purchases)
        ingest_file(pool, TWINS["cdnow_sample"], lines(folder, f"purchases-{number}", events))
        yield


def advance(pool: ConnectionPool, run_id: str) -> int:
    """Bring the read models up to the end of the log, and return where that is."""
    up_to = progress.pin(pool, run_id)
    with pool.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), up_to)
    return up_to


def interrupted(pool: ConnectionPool, settings: Settings) -> None:
    """Build the marts of what is there, and end dbt in the middle of it."""
    up_to = advance(pool, "interrupted")
    awaited = set(INTERRUPTED_AFTER)
    results = dbt.build(settings, [model.name for model in MODELS], up_to_position=up_to)
    while awaited:
        awaited.discard(next(results).unique_id.split(".")[-1])
    results.close()


def build(pool: ConnectionPool, settings: Settings, instance: DagsterInstance) -> None:
    """Bring read models and marts up to date, by a run of Dagster."""
    advance(pool, "complete")
    with pytest.MonkeyPatch.context() as patch:
        assert settings.database_url is not None
        patch.setenv("PIPELINES_HOME", str(settings.home))
        patch.setenv("PIPELINES_DATABASE_URL", settings.database_url.get_secret_value())
        result = materialize(ASSETS, resources={"platform": Platform()}, instance=instance)
    assert all(check.passed for check in result.get_asset_check_evaluations())


def test_deals_are_those_of_the_sales_pipeline(truth: Truth) -> None:
    """4,238 won for 10,005,534, by person and account as pandas adds them up; lost ones, and those that are open."""
    closed = truth.deals[truth.deals["deal_stage"].isin(["Won", "Lost"])]
    won = closed[closed["deal_stage"] == "Won"]
    assert (len(won), won["close_value"].sum()) == (4_238, 10_005_534)

    by_whom = won.groupby(["sales_agent", "account"])["close_value"].agg(["size", "sum"])
    assert truth.rows(
        "select sales_representative_id, lead_id, count(*), sum(won_amount) from marts.fct_deals"
        " where tenant_id = 'maven' and status = 'won' group by 1, 2"
    ) == sorted((*key, *values) for key, values in zip(by_whom.index, by_whom.itertuples(index=False), strict=True))
    by_day = closed.groupby(["deal_stage", "close_date"]).size()
    assert truth.rows(
        "select initcap(status), closed_on::text, count(*) from marts.fct_deals"
        " where tenant_id = 'maven' and status <> 'open' group by 1, 2"
    ) == sorted((*key, count) for key, count in by_day.items())
    is_open = (truth.deals["deal_stage"] == "Engaging") & truth.deals["account"].notna()
    assert truth.rows("select deal_id from marts.fct_deals where tenant_id = 'maven' and status = 'open'") == sorted(
        (deal,) for deal in truth.deals[is_open]["opportunity_id"]
    )


def test_deals_without_a_date_or_an_account_are_refused_and_counted(truth: Truth) -> None:
    """Each row has an event that was accepted, or is in the quarantine with what it lacks: nothing gets lost."""
    is_open = truth.deals["deal_stage"].isin(["Engaging", "Prospecting"])
    undated = truth.deals["engage_date"].isna()
    nameless = truth.deals["account"].isna() & ~undated

    assert truth.rows(
        "select split_part(reason, ':', 1), count(*) from event_log.quarantine where tenant_id = 'maven' group by 1"
    ) == [
        ("data.lead_id", nameless.sum()),
        ("occurred_at", undated.sum()),
    ]
    sent = truth.sent["maven"]
    assert (sent.quarantined, sent.duplicates) == (undated.sum() + nameless.sum(), 0)
    assert sent.accepted + sent.quarantined == len(truth.deals) + (~is_open).sum()


def test_orders_are_those_of_cdnow(truth: Truth) -> None:
    """69,659 purchases of 23,570 customers, each with its units and dollars, by customer and by day."""
    values = truth.purchases.assign(
        value=truth.purchases["value"].map(Decimal), units=truth.purchases["units"].map(int)
    )
    assert (len(values), values["customer"].nunique()) == (69_659, 23_570)

    by_customer = values.groupby("customer").agg(orders=("day", "size"), revenue=("value", "sum"))
    found = "select customer_id, orders, revenue from marts.dim_customers where tenant_id = 'cdnow'"
    assert truth.rows(found) == sorted(by_customer.itertuples(name=None))
    by_day = values.groupby("day").agg(lines=("day", "size"), units=("units", "sum"), revenue=("value", "sum"))
    for mart, rows in {"fct_orders": "sum(lines)", "fct_order_lines": "count(*)"}.items():
        assert truth.rows(
            f"select to_char(ordered_on, 'YYYYMMDD'), {rows}, sum(quantity), sum(revenue) from marts.{mart}"
            " where tenant_id = 'cdnow' group by 1"
        ) == sorted(by_day.itertuples(name=None))
    assert truth.sent["cdnow"].accepted == len(values)


def test_lifetime_values_are_fitted_to_the_published_parameters(truth: Truth) -> None:
    """From the files by way of the log: r, alpha (in weeks), a, b as published in 2005, and p, q, v of 2013."""
    [found] = truth.rows(
        "select customers, r, alpha / 7, a, b, p, q, v, as_of_on::text from marts.lifetime_value_models"
        " where tenant_id = 'cdnow_sample'"
    )
    assert found[0] == truth.sample["customer"].nunique() == 2_357
    assert [round(value, 3) for value in found[1:5]] == [0.243, 4.414, 0.793, 2.426]
    assert found[5:8] == pytest.approx((6.25, 3.74, 15.44), rel=0.0015)
    assert found[8] == "1997-09-30"


def test_every_mart_tells_every_tenant_that_it_is_fresh(truth: Truth) -> None:
    """After a run all marts are, those that SQL cannot make, too; a mart without rows of a tenant says so."""
    marts = truth.rows("select relname from pg_class where relnamespace = 'marts'::regnamespace and relkind = 'r'")
    status = truth.rows("select tenant_id, mart, is_fresh, rows from marts.mart_status")

    assert [row[:3] for row in status] == sorted(
        (tenant, mart, True) for tenant in (*truth.sent, *TWINS.values()) for (mart,) in marts
    )
    counts = {row[:2]: row[3] for row in status}
    assert (counts["cdnow", "fct_orders"], counts["maven", "fct_orders"]) == (69_659, 0)


def test_sessions_have_the_ids_that_were_given(truth: Truth) -> None:
    """2,986 sessions of diginetica, from their first view to their last one."""
    expected = truth.sessions.reset_index()
    assert len(expected) == 2_986

    found = truth.rows("select session_id, started_at, ended_at from marts.fct_sessions where tenant_id = 'diginetica'")

    assert found == sorted(
        (str(session), first.to_pydatetime(), last.to_pydatetime())
        for session, first, last in expected[["session_id", "first", "last"]].itertuples(index=False)
    )


def test_any_order_repetition_and_interruption_give_the_same_marts(truth: Truth) -> None:
    """Each mart of a tenant whose data came shuffled, in pieces and twice is byte for byte that of its twin.

    The first build was ended after a third of the twin's data; what it had made was then brought up to date.
    """
    advanced = truth.rows("select asset_key from progress.builds where asset_key like 'marts/%' and not is_whole")
    assert {key.removeprefix("marts/") for (key,) in advanced} >= INTERRUPTED_AFTER
    tables = truth.rows("select relname from pg_class where relnamespace = 'marts'::regnamespace and relkind = 'r'")
    filled: set[str] = set()
    for (table,) in tables:
        query = f"select (to_jsonb(t) - 'tenant_id')::text from marts.{table} as t where tenant_id = %s"
        for tenant, twin in TWINS.items():
            expected = truth.rows(query, tenant)
            assert truth.rows(query, twin) == expected, (table, tenant)
            filled |= {table} if expected else set()
    assert filled >= {"fct_deals", "fct_orders", "fct_order_lines", "dim_customers", "customer_lifetime_values"}
