"""The graph's assets and checks, run by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetSelection, DagsterInstance, ExecuteInProcessResult, materialize

from analytics_pipelines.graph.assets import ASSETS
from analytics_pipelines.graph.checks import CHECKS
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    import pytest
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

_INPUTS = """
    create table staging.stg_introductions as
    select 'saas' as tenant_id, 'lead-' || n / 3 as introducer_id, 'lead-' || n as introduced_id,
        timestamptz '2024-03-01 12:00Z' as occurred_at
    from generate_series(1, 40) as n;
    create table marts.fct_order_lines as
    select 'shop' as tenant_id, 'order-' || n as order_id, product_id, 'completed' as status,
        timestamptz '2024-03-01 12:00Z' as ordered_at
    from generate_series(1, 30) as n, unnest(array['a', 'b', 'c']) as product_id;
    create table marts.dim_products as
    select 'shop' as tenant_id, product_id, product_id as name, 30 as orders
    from unnest(array['a', 'b', 'c']) as product_id;
"""


def run(instance: DagsterInstance, selection: AssetSelection) -> ExecuteInProcessResult:
    """Run assets and checks of the graph in this process."""
    return materialize([*ASSETS, *CHECKS], selection=selection, instance=instance, resources={"platform": Platform()})


def broken(result: ExecuteInProcessResult) -> set[str]:
    """Return the names of the checks that did not pass."""
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def test_the_graph_is_built_and_its_checks_see_what_is_broken(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four assets materialize with a picture, all checks pass; each check fails once its rows are damaged."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    with database.connection() as connection:
        connection.execute(_INPUTS)

    with DagsterInstance.ephemeral() as instance:
        result = run(instance, AssetSelection.all())
        shown = {
            event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }
        assert broken(result) == set()
        assert {key: metadata["dagster/row_count"].value for key, metadata in shown.items()} == {
            "graph/edges": 43,
            "graph/nodes": 44,
            "graph/centralities": 44,
            "graph/communities": 44,
        }
        assert "data:image/png;base64," in str(shown["graph/communities"]["picture"].value)

        with database.connection() as connection:
            connection.execute("update graph.centralities set pagerank = pagerank * 1.001 where tenant_id = 'shop'")
        assert broken(run(instance, AssetSelection.checks(*CHECKS))) == {"pagerank_sums_to_one"}

        with database.connection() as connection:
            connection.execute("delete from graph.nodes where node_id = 'a'")
        assert broken(run(instance, AssetSelection.checks(*CHECKS))) == {
            "ends_of_edges_are_nodes",
            "pagerank_sums_to_one",
            "every_node_has_one_community",
        }
