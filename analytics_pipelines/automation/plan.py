"""Which assets a build has to make: like make, only what is not up to date.

Defines `stale()`, and `descendants()`. An asset is up to date when it was built by the code of today and nothing that
it reads has changed since: no event of the types it folds, no asset it derives from, no tenant's watermark, which is
its clock. No Dagster here: the graph comes as plain values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from analytics_pipelines.progress import Build

LOG = "event_log/events"
SOURCES = "sources/"


@dataclass(frozen=True, slots=True)
class Node:
    """An asset of the lineage.

    Attributes:
        code_version: the version of its code.
        parents: the assets it derives from.
        events: the event types it reads, if it reads the log; none means all types.
    """

    code_version: str
    parents: frozenset[str] = frozenset()
    events: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class News:
    """What is new.

    Attributes:
        sources: the assets that bring events in and have something to bring.
        events_since: the event types that were appended after a position.
        watermarks_moved: whether a tenant's watermark has moved since a position.
        damaged: the assets that are not what their build left: an online store that was emptied, a table that grew.
    """

    sources: frozenset[str]
    events_since: Callable[[int], frozenset[str]]
    watermarks_moved: Callable[[int], bool]
    damaged: frozenset[str] = frozenset()


def stale(nodes: Mapping[str, Node], builds: Mapping[str, Build], news: News) -> list[str]:
    """Return the assets that a build has to make, in the order of the lineage.

    Args:
        nodes: the lineage, by asset key.
        builds: how far each asset has come.
        news: what is new.
    """
    chosen: list[str] = []
    for key in in_order(nodes):
        is_source = key.startswith(SOURCES)
        if key in news.sources | news.damaged or (not is_source and _is_stale(nodes[key], key, builds, news, chosen)):
            chosen.append(key)
    return chosen


def in_order(nodes: Mapping[str, Node]) -> list[str]:
    """Return the keys with every asset after those it derives from."""
    graph = {key: sorted(parent for parent in node.parents if parent in nodes) for key, node in sorted(nodes.items())}
    return list(TopologicalSorter(graph).static_order())


def descendants(nodes: Mapping[str, Node], keys: Collection[str]) -> set[str]:
    """Return what derives from any of these assets, directly or through others."""
    found: set[str] = set()
    for key in in_order(nodes):
        if not nodes[key].parents.isdisjoint(found | set(keys)):
            found.add(key)
    return found


def _is_stale(node: Node, key: str, builds: Mapping[str, Build], news: News, chosen: list[str]) -> bool:
    build = builds.get(key)
    # While something waits outside, what it will bring is not known: everything behind the log is made.
    expecting = bool(news.sources) and LOG in node.parents
    if build is None or build.code_version != node.code_version or expecting:
        return True
    if not node.parents:
        return False  # it tells about the builds themselves
    parents = [parent for parent in node.parents if parent != LOG]
    # A parent may have been made alone, from the UI, or by a run that went no further.
    if any(parent in chosen or (parent in builds and builds[parent].built_at > build.built_at) for parent in parents):
        return True
    reads_the_log = LOG in node.parents or any(parent.startswith(SOURCES) for parent in node.parents)
    appended = news.events_since(build.position) if reads_the_log else frozenset[str]()
    has_new_events = bool(appended & node.events if node.events else appended)
    return has_new_events or news.watermarks_moved(build.position)
