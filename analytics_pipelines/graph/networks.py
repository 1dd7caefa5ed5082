"""The graphs as networkx knows them.

Defines how a graph is read from its tables and built so that the order of its rows decides nothing. Algorithms belong
into `scores.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import networkx as nx

from analytics_pipelines.graph.edges import INTRODUCTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection

_LABELS = "select node_id, label from graph.nodes where tenant_id = %s and graph = %s"
_EDGES = "select source_id, target_id, weight from graph.edges where tenant_id = %s and graph = %s"

DIRECTED = frozenset({INTRODUCTIONS})


@dataclass(frozen=True, slots=True)
class Network:
    """One graph of one tenant.

    Attributes:
        tenant_id: whose it is.
        graph: its name, as in `graph.edges`.
        network: nodes by id, edges with `weight`; a `DiGraph` where the graph is directed.
        labels: what to call each node.
    """

    tenant_id: str
    graph: str
    network: nx.Graph[str]
    labels: dict[str, str]


def build(nodes: Iterable[str], edges: Iterable[tuple[str, str, float]], *, directed: bool) -> nx.Graph[str]:
    """Build a network whose nodes and edges are in order of their ids, whatever order they come in.

    Args:
        nodes: the ids; all ends of edges are among them.
        edges: source, target, weight.
        directed: whether source and target differ.
    """
    network: nx.Graph[str] = nx.DiGraph() if directed else nx.Graph()
    network.add_nodes_from(sorted(nodes))
    network.add_weighted_edges_from(sorted(edges))
    return network


def undirected(network: nx.Graph[str]) -> nx.Graph[str]:
    """Forget the directions; the weights of there and back add up."""
    merged: nx.Graph[str] = nx.Graph()
    merged.add_nodes_from(network)
    for source, target, weight in network.edges(data="weight"):
        before = merged.get_edge_data(source, target, default={"weight": 0.0})["weight"]
        merged.add_edge(source, target, weight=before + weight)
    return merged


def read(connection: Connection) -> Iterator[Network]:
    """Read the graphs from `graph.nodes` and `graph.edges`, one after the other."""
    keys = connection.execute("select distinct tenant_id, graph from graph.nodes order by tenant_id, graph").fetchall()
    for key in keys:
        labels = dict(connection.execute(_LABELS, key).fetchall())
        edges = connection.execute(_EDGES, key).fetchall()
        tenant_id, graph = key
        yield Network(tenant_id, graph, build(labels, edges, directed=graph in DIRECTED), labels)
