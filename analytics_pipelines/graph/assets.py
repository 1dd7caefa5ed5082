"""The assets of the graph: edges, nodes and their scores.

Defines thin shells only. What an edge is stands in `edges.py`, what a score is in `scores.py`.
"""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from analytics_pipelines.resources import Platform


@asset(
    key=["graph", "edges"],
    deps=[["read_models", "relationship_edges"], ["marts", "dim_products"], ["marts", "fct_order_lines"]],
    group_name="graph",
    kinds={"sql", "postgres"},
    owners=["team:analytics"],
    code_version="2",
)
def edges(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, graph and pair of nodes.

    `introductions` is directed, from who introduced to who was introduced; its weight is how often. `co_purchase` is
    undirected: of a tenant's 1,000 products in most orders, those that met in at least 20. Its weight is orders with
    both / sqrt(orders with one x orders with the other); it does not say which of the two was the reason to buy.
    """
    from analytics_pipelines.graph.edges import refresh

    with platform.build(context) as build:
        refresh(build.connection)
        return build.result()


@asset(
    key=["graph", "nodes"],
    deps=[["graph", "edges"], ["marts", "dim_products"]],
    group_name="graph",
    kinds={"sql", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def nodes(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, graph and end of an edge: leads in `introductions`, products in `co_purchase`.

    Who has no edge is no node: this is no list of leads or products.
    """
    from analytics_pipelines.graph.nodes import refresh

    with platform.build(context) as build:
        refresh(build.connection)
        return build.result()


@asset(
    key=["graph", "centralities"],
    deps=[["graph", "nodes"], ["graph", "edges"]],
    group_name="graph",
    kinds={"python", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def centralities(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, graph and node: its degrees and its PageRank.

    PageRank sums to 1 over a tenant's graph, so that values of graphs of different size do not compare.
    """
    from analytics_pipelines.graph import networks, scores

    with platform.build(context) as build:
        scores.replace_centralities(build.connection, networks.read(build.connection))
        return build.result()


@asset(
    key=["graph", "communities"],
    deps=[["graph", "nodes"], ["graph", "edges"]],
    group_name="graph",
    kinds={"python", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def communities(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, graph and node: the community it belongs to (Louvain over the weights, directions left out).

    Number 1 is the largest community of its graph. A number is no identity: after the next build it may mean another
    group.
    """
    from analytics_pipelines.graph import networks, pictures, scores

    with platform.build(context) as build:
        found = [(graph, scores.communities(graph.network)) for graph in networks.read(build.connection)]
        scores.replace_communities(build.connection, found)
        modularity = {
            f"{graph.tenant_id} {graph.graph}": scores.modularity(graph.network, members) for graph, members in found
        }
        return build.result(
            picture=MetadataValue.md(pictures.markdown(found)), modularity=MetadataValue.json(modularity)
        )


ASSETS = [edges, nodes, centralities, communities]
