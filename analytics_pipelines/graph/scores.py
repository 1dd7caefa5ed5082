"""What a graph says of its nodes: the tables `graph.centralities` and `graph.communities`.

Defines the scores as plain functions of a network, and how they replace the rows of their tables. Add a score here as a
function and a column. Scores are functions of the rows alone: same rows, same scores, in any order and any process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx
from psycopg import sql

from analytics_pipelines.graph import networks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from analytics_pipelines.graph.networks import Network

DAMPING = 0.85
"""The chance that PageRank's surfer follows an edge instead of starting anew anywhere."""

PAGERANK_TOLERANCE = 1e-12
"""PageRank stops when a step changes no more than this per node, so that values are good to 1e-9 and better."""

PAGERANK_STEPS = 1_000

LOUVAIN_SEED = 0


@dataclass(frozen=True, slots=True)
class Centrality:
    """How central a node is; degrees by direction only where the network is directed."""

    node_id: str
    degree: int
    in_degree: int | None
    out_degree: int | None
    pagerank: float


def centralities(network: nx.Graph[str]) -> list[Centrality]:
    """Score every node, in order of the ids.

    PageRank follows edges from source to target by their weight. Degrees count edges, not weights.
    """
    pagerank = nx.pagerank(network, alpha=DAMPING, tol=PAGERANK_TOLERANCE, max_iter=PAGERANK_STEPS)
    return [
        Centrality(
            node_id,
            network.degree[node_id],
            network.in_degree[node_id] if isinstance(network, nx.DiGraph) else None,
            network.out_degree[node_id] if isinstance(network, nx.DiGraph) else None,
            pagerank[node_id],
        )
        for node_id in network
    ]


def communities(network: nx.Graph[str]) -> list[list[str]]:
    """Find groups of nodes that are closer to each other than to the rest (Louvain), directions left out.

    Returns:
        The communities, the largest first, equal ones by their smallest node id; node ids in order.
    """
    found: list[set[str]] = nx.community.louvain_communities(networks.undirected(network), seed=LOUVAIN_SEED)
    return sorted(map(sorted, found), key=lambda members: (-len(members), members[0]))


def modularity(network: nx.Graph[str], found: list[list[str]]) -> float:
    """Say how much more weight lies within communities than chance would put there, at most 1."""
    return nx.community.modularity(networks.undirected(network), [set(members) for members in found])


def replace_centralities(connection: Connection, graphs: Iterable[Network]) -> None:
    """Replace the rows of `graph.centralities`, in the connection's transaction."""
    columns = ("tenant_id", "graph", "node_id", "degree", "in_degree", "out_degree", "pagerank")
    rows = [
        (graph.tenant_id, graph.graph, score.node_id, score.degree, score.in_degree, score.out_degree, score.pagerank)
        for graph in graphs
        for score in centralities(graph.network)
    ]
    _replace(connection, "centralities", columns, rows)


def replace_communities(connection: Connection, graphs: Iterable[tuple[Network, list[list[str]]]]) -> None:
    """Replace the rows of `graph.communities`, in the connection's transaction.

    Args:
        connection: the session.
        graphs: each graph with its communities, the largest first.
    """
    columns = ("tenant_id", "graph", "node_id", "community", "community_size")
    rows = [
        (graph.tenant_id, graph.graph, node_id, number, len(members))
        for graph, found in graphs
        for number, members in enumerate(found, start=1)
        for node_id in members
    ]
    _replace(connection, "communities", columns, rows)


def _replace(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    target = sql.Identifier("graph", table)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("delete from {}").format(target))
        with cursor.copy(sql.SQL("copy {} ({}) from stdin").format(target, names)) as copy:
            for row in rows:
                copy.write_row(row)
