"""Scores of graphs: right on graphs whose answer is known, and the same in any order."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest

from analytics_pipelines.graph import networks, scores

Edges = list[tuple[str, str, float]]

# The sink "d" leads nowhere, "e" is reached by nobody, and the weights differ.
INTRODUCTIONS: Edges = [
    ("a", "b", 1.0),
    ("a", "c", 3.0),
    ("b", "c", 1.0),
    ("c", "a", 2.0),
    ("c", "d", 2.0),
    ("e", "a", 1.0),
]


def power_iteration(nodes: list[str], edges: Edges, *, directed: bool) -> dict[str, float]:
    """Compute PageRank in the plainest way there is, from its definition."""
    matrix = np.zeros((len(nodes), len(nodes)))
    for source, target, weight in edges:
        matrix[nodes.index(source), nodes.index(target)] += weight
        if not directed:
            matrix[nodes.index(target), nodes.index(source)] += weight
    sums = matrix.sum(axis=1, keepdims=True)
    step = np.where(sums > 0, matrix / np.where(sums > 0, sums, 1), 1 / len(nodes))
    rank = np.full(len(nodes), 1 / len(nodes))
    for _ in range(500):
        rank = 0.85 * rank @ step + 0.15 / len(nodes)
    return dict(zip(nodes, rank.tolist(), strict=True))


def planted(groups: int, size: int, seed: int) -> tuple[list[set[str]], Edges]:
    """Make groups whose members know half of each other, and few of the others."""
    chance = random.Random(seed)
    nodes = [f"n{number:03d}" for number in range(groups * size)]
    chance.shuffle(nodes)
    group = {node: number % groups for number, node in enumerate(nodes)}
    edges = [
        (one, other, 1.0)
        for one in nodes
        for other in nodes
        if one < other and chance.random() < (0.5 if group[one] == group[other] else 0.03)
    ]
    return [{node for node in nodes if group[node] == number} for number in range(groups)], edges


@pytest.mark.parametrize("directed", [True, False])
def test_pagerank_is_that_of_its_definition(*, directed: bool) -> None:
    """PageRank equals an independent power iteration to 1e-9, with weights, a sink and a node nobody leads to."""
    nodes = ["a", "b", "c", "d", "e"]
    expected = power_iteration(nodes, INTRODUCTIONS, directed=directed)
    edges = INTRODUCTIONS if directed else [edge for edge in INTRODUCTIONS if edge != ("c", "a", 2.0)]
    if not directed:
        expected = power_iteration(nodes, edges, directed=False)

    found = scores.centralities(networks.build(nodes, edges, directed=directed))

    assert {score.node_id: score.pagerank for score in found} == pytest.approx(expected, abs=1e-9)
    assert sum(score.pagerank for score in found) == pytest.approx(1.0, abs=1e-9)


def test_degrees_count_edges_by_direction() -> None:
    """A directed graph tells who was introduced from who introduced; weights do not count."""
    found = {
        score.node_id: score for score in scores.centralities(networks.build("abcde", INTRODUCTIONS, directed=True))
    }

    assert (found["a"].degree, found["a"].in_degree, found["a"].out_degree) == (4, 2, 2)
    assert (found["d"].degree, found["d"].in_degree, found["d"].out_degree) == (1, 1, 0)


def test_an_undirected_graph_has_no_degrees_by_direction() -> None:
    """In and out are unknown, not 0, where there is no direction."""
    found = scores.centralities(networks.build("ab", [("a", "b", 0.5)], directed=False))

    assert [(score.degree, score.in_degree, score.out_degree) for score in found] == [(1, None, None)] * 2


def test_planted_communities_are_found() -> None:
    """Four groups of 25 that were hidden in a random graph come out whole."""
    groups, edges = planted(groups=4, size=25, seed=7)

    found = scores.communities(networks.build(set.union(*groups), edges, directed=False))

    assert sorted(map(sorted, groups)) == sorted(found)


def test_communities_are_numbered_by_size_then_smallest_id() -> None:
    """The largest comes first, and of equal ones the one with the smallest id, whatever Louvain found first."""
    nodes = [f"n{number:02d}" for number in range(36)]
    random.Random(4).shuffle(nodes)
    trios = [sorted(nodes[number : number + 3]) for number in range(0, 36, 3)]
    four = ["x1", "x2", "x3", "x4"]
    edges = [(one, other, 1.0) for group in [*trios, four] for one in group for other in group if one < other]

    found = scores.communities(networks.build([*nodes, *four], edges, directed=False))

    assert found == [four, *sorted(trios)]


def test_introductions_there_and_back_add_up() -> None:
    """Leaving out the direction keeps all of the weight."""
    merged = networks.undirected(
        networks.build("abc", [("a", "b", 2.0), ("b", "a", 3.0), ("b", "c", 1.0)], directed=True)
    )

    assert sorted(merged.edges(data="weight")) == [("a", "b", 5.0), ("b", "c", 1.0)]


@pytest.mark.parametrize("directed", [True, False])
def test_the_order_of_rows_decides_nothing(*, directed: bool) -> None:
    """Shuffled nodes and edges give the same scores to the last bit and the same communities."""
    groups, unweighted = planted(groups=3, size=20, seed=11)
    nodes = sorted(set.union(*groups))
    edges = [(source, target, 1 / number) for number, (source, target, _) in enumerate(unweighted, start=3)]
    network = networks.build(nodes, edges, directed=directed)
    random.Random(1).shuffle(nodes)
    random.Random(2).shuffle(edges)
    shuffled = networks.build(nodes, edges, directed=directed)

    assert scores.centralities(shuffled) == scores.centralities(network)
    assert scores.communities(shuffled) == scores.communities(network)


def test_the_order_of_rows_breaks_no_tie() -> None:
    """On a ring, where every cut is as good as the next, shuffled edges give the same communities."""
    nodes = [f"n{number:02d}" for number in range(40)]
    ring = [(node, nodes[number - 1], 1.0) for number, node in enumerate(nodes)]
    expected = scores.communities(networks.build(nodes, ring, directed=False))

    for seed in range(5):
        random.Random(seed).shuffle(ring)
        assert scores.communities(networks.build(nodes, ring, directed=False)) == expected


def test_every_process_finds_the_same_communities() -> None:
    """The order in which a process walks through sets of text does not reach the communities."""
    code = """
import random
from analytics_pipelines.graph import networks, scores
chance = random.Random(5)
nodes = [f"n{number}" for number in range(120)]
edges = [(a, b, 1 + chance.random()) for a in nodes for b in nodes if a < b and chance.random() < 0.06]
print(scores.communities(networks.build(nodes, edges, directed=False)))
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(found) == 1
