"""Which assets a build has to make: like make, only what is not up to date.

Defines `stale()`. An asset is up to date when it was built to the settled position, by the code of today, after
everything it derives from. No Dagster here: the graph comes as plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics_pipelines.progress import Build


@dataclass(frozen=True, slots=True)
class Node:
    """An asset of the lineage: the version of its code, and the assets it derives from."""

    code_version: str
    parents: frozenset[str]


def stale(
    nodes: Mapping[str, Node], builds: Mapping[str, Build], settled_position: int, sources: Mapping[str, bool]
) -> list[str]:
    """Return the assets that a build has to make, in the order of the lineage.

    Args:
        nodes: the lineage, by asset key.
        builds: how far each asset has come.
        settled_position: how far the log has come.
        sources: the assets that bring events in, and whether each has something to bring.
    """
    chosen: list[str] = []
    for key in in_order(nodes):
        if key in sources:
            is_stale = sources[key]
        else:
            build = builds.get(key)
            is_stale = (
                build is None
                or build.position < settled_position
                or build.code_version != nodes[key].code_version
                or any(parent in chosen for parent in nodes[key].parents)
            )
        if is_stale:
            chosen.append(key)
    return chosen


def in_order(nodes: Mapping[str, Node]) -> list[str]:
    """Return the keys with every asset after those it derives from."""
    from graphlib import TopologicalSorter

    graph = {key: sorted(parent for parent in node.parents if parent in nodes) for key, node in sorted(nodes.items())}
    return list(TopologicalSorter(graph).static_order())
