"""The warehouse, built by dbt on a real Postgres out of a small log, through Dagster as a run does it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import orjson
import psutil
import psycopg
import pytest
from dagster import AssetKey, AssetSelection, materialize
from psycopg import sql
from pydantic import SecretStr

from analytics_pipelines import connections, progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.assets import MODELS, database_report, dbt_docs, lifetime_values, warehouse
from analytics_pipelines.warehouse.lifetime_value import TABLES
from analytics_pipelines.warehouse.manifest import PROJECT
from tests.integration.warehouse_app_events import APP_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from dagster import DagsterInstance, ExecuteInProcessResult

    from analytics_pipelines.settings import Settings
    from tests.integration.conftest import Isolation

TEMPLATE = "pipelines_template"


def event(number: int, event_type: str, stream_id: str, day: int, **data: Any) -> NewEvent:
    """Return an event at noon of a day of March 2026."""
    occurred_at = datetime(2026, 3, day, 12, tzinfo=UTC)
    return NewEvent("shop", f"{number:02}", stream_id, event_type, occurred_at, data)


def line(product_id: str, revenue: str, quantity: str = "1") -> dict[str, Any]:
    """Return a line of an order."""
    return {"product_id": product_id, "quantity": Decimal(quantity), "revenue": Decimal(revenue)}


def order(
    number: int, order_id: str, day: int, *lines: dict[str, Any], channel: str = "online", **more: Any
) -> NewEvent:
    """Return the placing of an order by Ann."""
    return event(
        number, "order_placed", f"order-{order_id}", day,
        order_id=order_id, customer_id="ann", channel=channel, currency="EUR", lines=list(lines), **more,
    )  # fmt: skip


EVENTS = [
    event(1, "customer_registered", "customer-ann", 1, customer_id="ann", age_band="45-54"),
    event(2, "product_added", "product-tea", 1, product_id="tea", name="Tea", department="Drinks"),
    event(3, "product_added", "product-tea", 2, product_id="tea", name="Green tea", department="Drinks"),
    event(4, "campaign_launched", "campaign-c", 1, campaign_id="c", name="C", channel="mail", starts_on="2026-03-01"),
    order(5, "till", 1, line("tea", "4.50", "3"), line("cup", "6.25"), line("cup", "1"), channel="store", store_id="s"),
    order(6, "regretted", 2, line("tea", "99")),
    event(7, "order_cancelled", "order-regretted", 3, order_id="regretted", reason="changed my mind"),
    order(8, "returned", 4, line("cup", "10")),
    event(9, "order_paid", "order-returned", 4, order_id="returned", amount=Decimal(10)),
    event(10, "order_refunded", "order-returned", 6, order_id="returned", amount=Decimal(4)),
    event(
        11,
        "deal_opened",
        "deal-d",
        1,
        deal_id="d",
        lead_id="l",
        sales_representative_id="rep",
        amount=700,
        currency="EUR",
    ),
    event(12, "deal_won", "deal-d", 5, deal_id="d", lead_id="l", amount=500, currency="EUR"),
    event(13, "experiment_exposed", "lead-l", 1, experiment_id="x", subject_id="l", variant="red"),
    event(14, "experiment_converted", "lead-l", 2, experiment_id="x", subject_id="l"),
    event(16, "store_opened", "store-s", 1, store_id="s", name="Harbour", region="north"),
    event(15, "introduction_made", "lead-l", 1, introducer_id="l", introduced_id="m"),
    *APP_EVENTS,
]


@dataclass(frozen=True)
class Warehouse:
    """A database with a small log, the read models, and the run that built the warehouse."""

    settings: Settings
    run: ExecuteInProcessResult

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        assert self.settings.database_url is not None
        with psycopg.connect(self.settings.database_url.get_secret_value()) as connection:
            return connection.execute(query.encode()).fetchall()


@contextmanager
def database(servers: Settings, name: str, template: str) -> Generator[Settings]:
    """Make a database out of another one for as long as the block runs."""
    with psycopg.connect(connections.admin_url(servers), autocommit=True) as admin:
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        admin.execute(sql.SQL("create database {name} template {template}").format(**names))
        assert servers.database_url is not None
        url = urlunsplit(urlsplit(servers.database_url.get_secret_value())._replace(path=f"/{name}"))
        yield servers.model_copy(update={"database_url": SecretStr(url), "admin_database_url": None})
        admin.execute(sql.SQL("drop database {name} with (force)").format(**names))


def fill(settings: Settings, events: Sequence[NewEvent], run_id: str = "fill") -> None:
    """Append events one by one in the given order and bring the read models up to them."""
    with connections.open_pool(settings) as pool:
        store = EventStore(pool)
        for one in events:
            store.append("acme", one.stream_id, [one])
        up_to = progress.pin(pool, run_id)
        with pool.connection() as connection:
            projector.advance(connection, READ_MODELS.values(), up_to)


def run(
    instance: DagsterInstance, settings: Settings, *names: str, with_checks: bool = True, **config: Any
) -> ExecuteInProcessResult:
    """Materialize the warehouse, or only the models of these names, as Dagster does; `config` as in the launchpad."""
    with pytest.MonkeyPatch.context() as patch:
        assert settings.database_url is not None
        patch.setenv("PIPELINES_HOME", str(settings.home))
        patch.setenv("PIPELINES_DATABASE_URL", settings.database_url.get_secret_value())
        chosen = [AssetKey(model.key) for model in MODELS if not names or model.name in names]
        chosen += [AssetKey(["marts", name]) for name in TABLES if name in names]
        selection = AssetSelection.assets(*chosen)
        return materialize(
            [warehouse, lifetime_values],
            resources={"platform": Platform()},
            selection=selection if with_checks else selection.without_checks(),
            run_config={"ops": {"warehouse": {"config": config}}} if config else None,
            instance=instance,
            raise_on_error=False,
        )


def checks(result: ExecuteInProcessResult) -> dict[str, bool]:
    """Return the checks that ran, and whether they passed."""
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


def materialized(result: ExecuteInProcessResult) -> set[str]:
    """Return the names of the models that were materialized."""
    return {found.asset_key.path[-1] for found in result.get_asset_materialization_events() if found.asset_key}


@pytest.fixture(scope="module")
def built(servers: Settings, instance: DagsterInstance) -> Iterator[Warehouse]:
    """The warehouse of the events above; one more order came after the run was pinned."""
    with database(servers, "test_warehouse", TEMPLATE) as settings:
        fill(settings, EVENTS)
        with pytest.MonkeyPatch.context() as patch, connections.open_pool(settings) as pool:
            late = order(99, "late", 7, line("tea", "1"))
            pin = Platform.pin

            def pin_then_append(platform: Platform, context: Any) -> int:
                up_to = pin(platform, context)
                EventStore(pool).append("acme", late.stream_id, [late])
                return up_to

            patch.setattr(Platform, "pin", pin_then_append)
            result = run(instance, settings)
        yield Warehouse(settings, result)


@pytest.fixture
def copy(servers: Settings, built: Warehouse) -> Iterator[Settings]:
    """A copy of the built warehouse, to do things to."""
    with database(servers, "test_warehouse_copy", "test_warehouse") as settings:
        yield settings


def test_one_run_builds_all_models_and_passes_all_tests(built: Warehouse) -> None:
    """Every model is materialized and every dbt test is a check that passed."""
    assert built.run.success
    assert materialized(built.run) == {model.name for model in MODELS}
    assert checks(built.run) == {test.name: True for model in MODELS for test in model.tests}


def test_each_model_is_accounted_for_by_the_version_of_its_code(built: Warehouse) -> None:
    """What dbt writes down is the version that the lineage shows: nothing is out of date by its code after a build."""
    versions = dict(built.rows("select asset_key, code_version from progress.builds where tenant_id = '*'"))

    assert {model.name: versions["/".join(model.key)] for model in MODELS} == {
        model.name: model.code_version for model in MODELS
    }


def test_every_table_says_to_which_position_it_was_built(built: Warehouse) -> None:
    """mart_status has each table, built to the pin and not to what was appended later."""
    status = dict(built.rows("select mart, position from marts.mart_status where tenant_id = 'acme'"))

    assert set(status) == {model.name for model in MODELS if model.key[0] == "marts"} - {"mart_status"}
    assert set(status.values()) == {row[0] for row in built.rows("select max(up_to_position) from progress.pins")}


def test_a_mart_that_dbt_does_not_make_tells_whether_it_is_fresh(copy: Settings) -> None:
    """It is until what it has read changes, or a tenant's day turns; nobody knows where that was not written down.

    A tenant has a row for each mart, be there rows of it in the mart or not.
    """
    query = "select mart, rows, is_fresh from marts.mart_status where tenant_id = 'other' order by mart"
    with psycopg.connect(connections.admin_url(copy), autocommit=True) as connection:

        def status() -> dict[str, tuple[int, bool | None]]:
            return {mart: (rows, is_fresh) for mart, rows, is_fresh in connection.execute(query.encode())}

        def record(inputs: dict[str, int] | None) -> None:
            progress.record_build(
                connection, asset_key="marts/customer_lifetime_values", position=1, rows={"other": 3}, seconds=1,
                code_version="1", run_id="run", inputs=inputs,
            )  # fmt: skip

        connection.execute("insert into progress.watermarks values ('other', 1, '2026-03-01 08:00Z')")
        record(None)
        assert status()["customer_lifetime_values"] == (3, None)
        assert status()["fct_orders"] == (0, True)
        record(progress.changes(connection, ["marts.fct_orders"]))
        assert status()["customer_lifetime_values"] == (3, True)

        connection.execute("insert into progress.watermarks values ('other', 100, '2026-03-01 23:59Z')")
        assert status()["customer_lifetime_values"] == (3, True)
        connection.execute("insert into progress.watermarks values ('other', 101, '2026-03-02 00:00Z')")
        assert status()["customer_lifetime_values"] == (3, False)

        connection.execute("delete from progress.watermarks where position > 1")
        progress.note_change(connection, "marts/fct_orders")
        assert status()["customer_lifetime_values"] == (3, False)


def test_no_mart_is_fresh_while_no_run_takes_what_is_appended(servers: Settings, copy: Settings) -> None:
    """An event that waits is no matter until it has waited for long; then BI is told, also when runs fail."""
    name = urlsplit(connections.database_url(copy)).path
    superuser = urlunsplit(urlsplit(connections.admin_url(servers))._replace(path=name))
    fresh = "select distinct is_fresh from marts.mart_status where is_fresh is not null"
    with psycopg.connect(superuser) as connection:
        assert connection.execute(fresh).fetchall() == [(True,)]

        connection.execute("update event_log.events set recorded_at = now() - interval '16 minutes' "
                           "where event_id = '99'")  # fmt: skip
        connection.execute("insert into progress.pins values ('failed', 1000000)")
        assert connection.execute(fresh).fetchall() == [(False,)]


def test_orders_and_lines_are_what_the_log_says(built: Warehouse) -> None:
    """Lines are numbered and valued as sent, orders have their state; what came after the pin is not there."""
    assert built.rows("""
        select order_id, line_number, product_id, quantity, revenue, discount, is_cancelled
        from marts.fct_order_lines order by order_id, line_number
    """) == [
        ("regretted", 1, "tea", 1, Decimal(99), 0, True),
        ("returned", 1, "cup", 1, Decimal(10), 0, False),
        ("till", 1, "tea", 3, Decimal("4.50"), 0, False),
        ("till", 2, "cup", 1, Decimal("6.25"), 0, False),
        ("till", 3, "cup", 1, Decimal(1), 0, False),
    ]
    assert built.rows("select order_id, lines, revenue, refunded_amount from marts.fct_orders order by order_id") == [
        ("regretted", 1, Decimal(99), 0),
        ("returned", 1, Decimal(10), Decimal(4)),
        ("till", 3, Decimal("11.75"), 0),
    ]


def test_revenue_is_there_for_every_day(built: Warehouse) -> None:
    """Days from the first to the last with money are all there; cancelled orders are 0, refunds have their own day."""
    assert built.rows("""
        select extract(day from revenue_on)::integer, order_revenue, deal_revenue, revenue, refunded_amount
        from marts.fct_daily_revenue order by revenue_on
    """) == [
        (1, Decimal("11.75"), 0, Decimal("11.75"), 0),
        (2, 0, 0, 0, 0),
        (3, 0, 0, 0, 0),
        (4, 10, 0, 10, 0),
        (5, 0, 500, 500, 0),
        (6, 0, 0, 0, 4),
    ]


def test_products_are_those_added_and_those_sold(built: Warehouse) -> None:
    """A product has its last name, one sold but never added has a row; an order counts once, a cancelled one never."""
    query = "select product_id, name, is_in_range, orders, revenue from marts.dim_products order by product_id"

    assert built.rows(query) == [
        ("cup", None, False, 2, Decimal("17.25")),
        ("tea", "Green tea", True, 1, Decimal("4.50")),
    ]


def test_comments_reach_the_database(built: Warehouse) -> None:
    """Whoever opens the warehouse in a BI tool finds the description of every table and column there."""
    assert (
        built.rows("""
        select c.relname, a.attname
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace in ('marts'::regnamespace, 'staging'::regnamespace) and c.relkind in ('r', 'v')
            and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)
    """)
        == []
    )


def test_dbt_build_runs_alone(copy: Settings, tmp_path: Path) -> None:
    """By `pipelines dbt`, also in a session not in UTC, dbt builds all there is, and every test and unit test passes.

    So do the rules of the project, of which the account of marts tells nothing: no asset is theirs. What is told of a
    mart that dbt does not make stays.
    """
    by_python = {"asset_key": "marts/customer_lifetime_values", "rows": {"acme": 1}, "inputs": {"marts.fct_orders": 1}}
    with psycopg.connect(connections.database_url(copy)) as connection:
        progress.record_build(connection, position=1, seconds=1, code_version="1", run_id="run", **by_python)
    environment = {"PIPELINES_HOME": str(copy.home), "PIPELINES_DATABASE_URL": connections.database_url(copy)}
    options = ["--log-level-file", "none", "build", "--target-path", str(tmp_path)]

    done = subprocess.run(
        [sys.executable, "-c", "from analytics_pipelines.cli import main; main()", "dbt", *options],
        env=os.environ | environment | {"PGOPTIONS": "-c timezone=Pacific/Auckland"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    manifest = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())
    tests = [node for node in manifest["nodes"].values() if node["resource_type"] == "test"]
    assert f" 1 seed, {len(tests)} data tests, {len(manifest['unit_tests'])} unit tests" in done.stdout
    with psycopg.connect(connections.database_url(copy)) as connection:
        told = connection.execute("select test from progress.tests").fetchall()
        assert by_python["asset_key"] in progress.builds(connection)
    assert {test for (test,) in told} == {test.name for model in MODELS for test in model.tests}


def test_a_failed_test_holds_back_what_is_built_from_the_model(instance: DagsterInstance, copy: Settings) -> None:
    """Nothing downstream is built from rows that break a rule, by dbt or by Python; all other results are out.

    Nor in a run of these alone. Until it passes, `pipelines build` takes the model for stale and tries again, and so
    does a run without that test.
    """
    with psycopg.connect(connections.admin_url(copy), autocommit=True) as admin:
        table = admin.execute("""
            select table_name from information_schema.view_table_usage
            where view_schema = 'read_models' and view_name = 'order_state'
        """).fetchone()
        assert table is not None
        admin.execute(
            sql.SQL(
                "update read_models.{} set _last__customer_id[1].data"
                " = jsonb_set((_last__customer_id[1]).data, '{{5}}', '9') where order_id = 'till'"
            ).format(sql.Identifier(table[0]))
        )

    result = run(instance, copy, "fct_orders", "dim_customers", "dim_leads", *TABLES, whole=True)

    [failure] = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_key == "lifetime_values"
    assert "marts/fct_orders: a test fails" in str(failure.step_failure_data.error_display_string)
    assert checks(result)["fct_orders_revenue_equals_that_placed"] is False
    assert checks(result)["fct_orders_key_is_unique"] is True
    assert materialized(result) == {"fct_orders", "dim_leads"}
    with psycopg.connect(connections.admin_url(copy)) as admin:
        assert progress.broken(admin) == {"marts/fct_orders"}

    for descendants in (["fct_customer_months"], TABLES):
        alone = run(instance, copy, *descendants, with_checks=False)
        [failure] = alone.filter_events(lambda event: event.is_step_failure)
        assert "fct_orders" in str(failure.step_failure_data.error_display_string)
        assert materialized(alone) == set()

    asked: list[str] = []

    def note(_settings: Settings, names: Sequence[str], **_extent: object) -> Iterator[dbt.NodeResult]:
        asked.extend(names)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dbt, "build", note)
        run(instance, copy, "fct_orders", "dim_leads", with_checks=False)
    assert asked == ["dim_leads", "fct_orders", "fct_orders_revenue_equals_that_placed"]


def test_results_of_tests_that_cannot_be_written_down_are_an_error(copy: Settings) -> None:
    """A run whose tests passed and left no word of it has failed: mart_status would go on telling of the run before."""
    with psycopg.connect(connections.admin_url(copy), autocommit=True) as admin:
        admin.execute("alter table progress.tests add constraint is_full check (false) not valid")

    with pytest.raises(PipelinesError, match=r"write down how it went: .*is_full"):
        list(dbt.build(copy, ["fct_orders_key_is_unique"], up_to_position=99))


def test_a_model_that_cannot_be_built_is_named(copy: Settings) -> None:
    """The error says which model and what the database said, after the results of the others."""
    with psycopg.connect(connections.admin_url(copy), autocommit=True) as admin:
        admin.execute("drop view staging.stg_campaigns")
    told: list[str] = []

    with pytest.raises(
        PipelinesError, match=r"model dim_campaigns could not be built: .*stg_campaigns.*does not exist"
    ):
        told.extend(
            result.unique_id.split(".")[-1]
            for result in dbt.build(
                copy, ["dim_campaigns", "fct_deals"], up_to_position=99, extent=dbt.Extent(whole=True)
            )
        )

    assert sorted(told) == ["dim_campaigns", "fct_deals"]


def test_a_cancelled_build_leaves_nothing_behind(copy: Settings) -> None:
    """Closing the results stops dbt, its sessions and its lock, so that the next build can begin."""
    results = dbt.build(copy, [model.name for model in MODELS], up_to_position=99)
    next(results)
    assert psutil.Process().children()

    results.close()

    assert not [child for child in psutil.Process().children() if "dbt.cli.main" in " ".join(child.cmdline())]
    with psycopg.connect(connections.admin_url(copy)) as admin:
        locks = admin.execute("select count(*) from pg_locks where locktype = 'advisory' and objid = 2").fetchone()
    assert locks == (0,)


def test_an_unknown_name_is_an_error(copy: Settings) -> None:
    """A model that dbt does not know, because the project changed meanwhile, is no success that built nothing."""
    with pytest.raises(PipelinesError, match="no model or test dim_nothing"):
        list(dbt.build(copy, ["dim_nothing"], up_to_position=99))


def test_the_reports_are_written(instance: DagsterInstance, built: Warehouse) -> None:
    """The documentation is alone in a folder, and linked to where that is served; the database's report is readable."""
    with pytest.MonkeyPatch.context() as patch:
        assert built.settings.database_url is not None
        patch.setenv("PIPELINES_HOME", str(built.settings.home))
        patch.setenv("PIPELINES_DATABASE_URL", built.settings.database_url.get_secret_value())
        patch.setenv("PIPELINES_DOCS_URL", "https://docs.example/")
        result = materialize([dbt_docs, database_report], resources={"platform": Platform()}, instance=instance)
    [page], [report] = (result.asset_materializations_for_node(f"reports__{name}") for name in ("dbt_docs", "database"))

    path = Path(str(page.metadata["path"].value))
    assert list((built.settings.home / "docs").iterdir()) == [path]
    assert "One row per tenant and order placed" in (text := path.read_text(encoding="utf-8"))
    assert urlsplit(built.settings.database_url.get_secret_value()).password not in text
    assert page.metadata["open"].value == "https://docs.example/"
    assert "| 1 | pipelines_runtime | " in str(report.metadata["report"].value)


def test_documentation_that_nobody_serves_is_not_linked(
    tmp_path: Path, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no address is set, the catalog shows the path alone: a browser follows no link to a file."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    monkeypatch.setattr(dbt, "write_docs", lambda settings: settings.docs / "index.html")

    result = materialize([dbt_docs], resources={"platform": Platform()}, instance=instance)

    [page] = result.asset_materializations_for_node("reports__dbt_docs")
    assert page.metadata["path"].value == str(tmp_path / "docs" / "index.html")
    assert "open" not in page.metadata


def test_a_bi_login_sees_its_own_tenants_only_and_writes_nothing(
    copy: Settings, isolation: Callable[[Settings, str], AbstractContextManager[Isolation]]
) -> None:
    """Tried on every relation and function there is, whatever it SETs; a mart that was forgotten is found."""
    with isolation(copy, "acme") as tried, psycopg.connect(connections.database_url(copy), autocommit=True) as owner:
        tried.fill("acme", "other")
        assert tried.leaks("acme") == []

        owner.execute("create table marts.forgotten as select * from marts.fct_orders")
        assert "after 'reset all' marts.forgotten shows None" in tried.leaks("acme")
        owner.execute("grant select on marts.forgotten to bi_reader")
        assert any("marts.forgotten shows" in leak and "other" in leak for leak in tried.leaks("acme"))
        owner.execute("select access.protect('marts.forgotten')")
        assert tried.leaks("acme") == []


def test_the_dashboards_find_what_they_ask_for(
    copy: Settings, isolation: Callable[[Settings, str], AbstractContextManager[Isolation]]
) -> None:
    """Every statement of the benchmark runs as a login of BI: no table or column that it names is missing."""
    text = (PROJECT.parent / "benchmarks" / "dashboards.sql").read_text(encoding="utf-8")
    names, queries = (re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[first::2] for first in (1, 2))
    assert len(names) >= 14
    with isolation(copy, "acme") as tried:
        for query in queries:
            # The parameters that pgbench would draw.
            for name, value in re.findall(r"\\set (\w+) random\((\d+),", query):
                query = re.sub(rf"(?<!:):{name}\b", value, query)  # noqa: PLW2901
            tried.ask(re.sub(r"^\\set.*$", "", query, flags=re.MULTILINE))
