"""The graph's assets and checks, run by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import AssetSelection

from analytics_pipelines.graph.assets import ASSETS
from analytics_pipelines.graph.checks import CHECKS

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

_INPUTS = """
    create table read_models.relationship_edges as
    select 'saas' as tenant_id, 'lead-' || n / 3 as source_id, 'lead-' || n as target_id, 'introduced' as kind,
        1 as interactions, timestamptz '2024-03-01 12:00Z' as first_at, timestamptz '2024-03-01 12:00Z' as last_at
    from generate_series(1, 40) as n;
    create table marts.fct_order_lines as
    select 'shop' as tenant_id, 'order-' || n as order_id, product_id, false as is_cancelled,
        timestamptz '2024-03-01 12:00Z' as ordered_at
    from generate_series(1, 30) as n, unnest(array['a', 'b', 'c']) as product_id;
    create table marts.dim_products as
    select 'shop' as tenant_id, product_id, product_id as name, 30 as orders
    from unnest(array['a', 'b', 'c']) as product_id;
"""


def test_the_graph_is_built_and_its_checks_see_what_is_broken(database: ConnectionPool, asset_runs: Any) -> None:
    """All four assets materialize with a picture, all checks pass; each check fails once its rows are damaged."""
    with database.connection() as connection:
        connection.execute(_INPUTS)

    result = asset_runs.run([*ASSETS, *CHECKS])
    shown = asset_runs.metadata(result)
    assert asset_runs.broken(result) == set()
    assert {key: found["dagster/row_count"].value for key, found in shown.items()} == {
        "graph/edges": 43,
        "graph/nodes": 44,
        "graph/centralities": 44,
        "graph/communities": 44,
    }
    assert "data:image/png;base64," in str(shown["graph/communities"]["picture"].value)

    checks = AssetSelection.checks(*CHECKS)
    with database.connection() as connection:
        connection.execute("update graph.centralities set pagerank = pagerank * 1.001 where tenant_id = 'shop'")
    assert asset_runs.broken(asset_runs.run([*ASSETS, *CHECKS], checks)) == {"pagerank_sums_to_one"}

    with database.connection() as connection:
        connection.execute("delete from graph.nodes where node_id = 'a'")
    assert asset_runs.broken(asset_runs.run([*ASSETS, *CHECKS], checks)) == {
        "ends_of_edges_are_nodes",
        "pagerank_sums_to_one",
        "every_node_has_one_community",
    }
