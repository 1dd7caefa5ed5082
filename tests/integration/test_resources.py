"""What every asset does alike: one transaction with its account, one run at a time, metadata people want to see."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from dagster import asset, materialize

from analytics_pipelines import progress
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings


@pytest.fixture
def platform(database_settings: Settings, database: ConnectionPool, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform on the test's database, with a table to build."""
    monkeypatch.setenv("PIPELINES_HOME", str(database_settings.home))
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    with database.connection() as connection:
        connection.execute("create table graph.toys (tenant_id text primary key, name text)")
        connection.execute("comment on column graph.toys.name is 'What it is called'")
    return Platform()


def build(instance: DagsterInstance, platform: Platform, work: Any) -> Any:
    """Materialize the table `graph.toys` by some work with the build."""

    @asset(key=["graph", "toys"], code_version="1")
    def toys(context, platform: Platform) -> Any:  # noqa: ANN001 - Dagster reads annotations as objects, not as text
        with platform.build(context) as opened:
            work(opened)
            return opened.result()

    return materialize([toys], resources={"platform": platform}, instance=instance, raise_on_error=False)


def _insert_a_ball(opened: Any) -> None:
    opened.connection.execute("insert into graph.toys values ('t', 'ball')")


def test_rows_and_account_commit_together(
    instance: DagsterInstance, platform: Platform, database: ConnectionPool
) -> None:
    """The catalog is told rows, position and columns; the account of the build says the same."""
    result = build(instance, platform, _insert_a_ball)
    metadata = result.asset_materializations_for_node("graph__toys")[0].metadata
    assert metadata["dagster/row_count"].value == 1
    assert [column.description for column in metadata["dagster/column_schema"].value.columns] == [
        None,
        "What it is called",
    ]
    with database.connection() as connection:
        assert progress.builds(connection)["graph/toys"].rows == 1


def test_a_build_that_fails_leaves_nothing(
    instance: DagsterInstance, platform: Platform, database: ConnectionPool
) -> None:
    """Neither rows nor account of a build that raised are there afterwards."""

    def fail(opened: Any) -> None:
        opened.connection.execute("insert into graph.toys values ('t', 'ball')")
        raise RuntimeError("broken")

    assert not build(instance, platform, fail).success
    with database.connection() as connection:
        assert connection.execute("select count(*) from graph.toys").fetchone() == (0,)
        assert progress.builds(connection) == {}


def test_two_runs_build_an_asset_one_after_the_other(
    instance: DagsterInstance, platform: Platform, database: ConnectionPool
) -> None:
    """A run that comes while another session builds the same asset waits until that one has ended."""
    results: list[Any] = []
    second = threading.Thread(target=lambda: results.append(build(instance, platform, _insert_a_ball)))
    with database.connection() as first:
        progress.lock_asset(first, "graph/toys")
        second.start()
        while not first.execute("select 1 from pg_locks where locktype = 'advisory' and not granted").fetchone():
            assert second.is_alive()
            time.sleep(0.05)
        first.execute("insert into graph.toys values ('first', 'bear')")
    second.join()
    assert results[0].success
    with database.connection() as connection:
        assert connection.execute("select count(*) from graph.toys").fetchone() == (2,)
