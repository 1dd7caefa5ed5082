"""What must be true of the graph's tables.

Defines the checks that the database's own constraints cannot make, each as a query of the rows that break it.
"""

from dagster import AssetCheckExecutionContext, AssetCheckResult, asset_check

from analytics_pipelines.resources import Platform, nothing_breaks

PAGERANK_ERROR = 1e-9

_LOOSE_EDGES = """
    select edges.tenant_id, edges.graph, ends.node_id
    from graph.edges as edges
    cross join lateral (values (edges.source_id), (edges.target_id)) as ends (node_id)
    left join graph.nodes as nodes using (tenant_id, graph, node_id)
    where nodes.node_id is null
"""

_WRONG_SUMS = """
    select tenant_id, graph, sum(scores.pagerank)
    from graph.nodes as nodes
    left join graph.centralities as scores using (tenant_id, graph, node_id)
    group by tenant_id, graph
    having abs(coalesce(sum(scores.pagerank), 0) - 1) > %(error)s or count(*) <> count(scores.node_id)
"""

_WITHOUT_COMMUNITY = """
    select tenant_id, graph, node_id
    from graph.nodes as nodes
    full join graph.communities as communities using (tenant_id, graph, node_id)
    where nodes.label is null or communities.community is null
"""


@asset_check(asset=["graph", "nodes"], name="ends_of_edges_are_nodes")
def ends_of_edges_are_nodes(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Both ends of every edge are nodes of its graph."""
    return nothing_breaks(context, platform, _LOOSE_EDGES)


@asset_check(asset=["graph", "centralities"], name="pagerank_sums_to_one")
def pagerank_sums_to_one(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Every node has a PageRank, and they sum to 1 over each graph of each tenant."""
    return nothing_breaks(context, platform, _WRONG_SUMS, {"error": PAGERANK_ERROR})


@asset_check(asset=["graph", "communities"], name="every_node_has_one_community")
def every_node_has_one_community(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Every node stands in exactly one community, and nobody else does (the key forbids two)."""
    return nothing_breaks(context, platform, _WITHOUT_COMMUNITY)


CHECKS = [ends_of_edges_are_nodes, pagerank_sums_to_one, every_node_has_one_community]
