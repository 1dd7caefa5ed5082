"""The nodes of the graphs: the table `graph.nodes`.

Defines what a node is and what it is called. Scores of nodes belong into `scores.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_pipelines.graph.edges import CO_PURCHASE

if TYPE_CHECKING:
    from psycopg import Connection

_NODES = """
    insert into graph.nodes (tenant_id, graph, node_id, label, first_at, last_at)
    with ends as (
        select tenant_id, graph, source_id as node_id, first_at, last_at from graph.edges
        union all
        select tenant_id, graph, target_id, first_at, last_at from graph.edges
    ),
    nodes as (
        select tenant_id, graph, node_id, min(first_at) as first_at, max(last_at) as last_at
        from ends
        group by tenant_id, graph, node_id
    )
    select
        nodes.tenant_id,
        nodes.graph,
        nodes.node_id,
        coalesce(products.name, nodes.node_id),
        nodes.first_at,
        nodes.last_at
    from nodes
    left join marts.dim_products as products
        on nodes.graph = %(co_purchase)s
        and nodes.tenant_id = products.tenant_id
        and nodes.node_id = products.product_id
"""


def refresh(connection: Connection) -> None:
    """Replace the nodes of all graphs by the ends of their edges.

    Args:
        connection: the session; everything happens in its transaction.
    """
    connection.execute("delete from graph.nodes")
    connection.execute(_NODES, {"co_purchase": CO_PURCHASE})
    connection.execute("analyze graph.nodes")
