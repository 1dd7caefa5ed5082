"""A build makes what is not up to date, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from analytics_pipelines.automation.plan import News, Node, descendants, in_order, stale
from analytics_pipelines.progress import Build

NODES = {
    "sources/a": Node("1"),
    "event_log/events": Node("1", frozenset({"sources/a"})),
    "leads": Node("1", frozenset({"event_log/events"}), frozenset({"lead_created"})),
    "orders": Node("1", frozenset({"event_log/events"}), frozenset({"order_placed", "order_paid"})),
    "revenue": Node("1", frozenset({"orders"})),
    "everything": Node("1", frozenset({"event_log/events"})),
}
BEHIND_THE_LOG = set(NODES) - {"sources/a"}


def built(**versions: str) -> dict[str, Build]:
    """Every asset, built to position 7."""
    moment = datetime(2017, 1, 1, tzinfo=UTC)
    return {name: Build(name, 7, 1, 0.1, versions.get(name, "1"), None, moment) for name in BEHIND_THE_LOG}


def news(*events: str, sources: frozenset[str] = frozenset(), moved: bool = False) -> News:
    """What came after position 7."""
    return News(
        sources, lambda position: frozenset(events if position <= 7 else ()), lambda position: moved and position <= 7
    )


def test_nothing_is_made_when_nothing_is_new() -> None:
    """A second build has nothing to do."""
    assert stale(NODES, built(), news()) == []


def test_a_new_event_makes_what_reads_its_type_and_what_derives_from_that() -> None:
    """An order changes the orders and the revenue, not the leads; who reads all types is made as well."""
    assert set(stale(NODES, built(), news("order_paid"))) == {"event_log/events", "orders", "revenue", "everything"}


def test_a_moved_watermark_makes_everything() -> None:
    """What counts days counts them to the watermark: a new day changes it without an event of its own."""
    assert set(stale(NODES, built(), news("saga_started", moved=True))) == BEHIND_THE_LOG


def test_an_asset_older_than_its_parent_is_made() -> None:
    """A parent made alone, from the UI, makes its children stale, whatever positions they say."""
    builds = built()
    builds["orders"] = replace(builds["orders"], position=9, built_at=datetime(2017, 1, 2, tzinfo=UTC))
    assert stale(NODES, builds, news()) == ["revenue"]


def test_a_damaged_asset_and_its_descendants_are_made() -> None:
    """An online store that was emptied is filled again, though nothing is new."""
    damaged = replace(news(), damaged=frozenset({"orders"}))
    assert stale(NODES, built(), damaged) == ["orders", "revenue"]


def test_a_source_with_something_to_bring_makes_all_that_derives_from_it() -> None:
    """What waits outside counts before anyone knows what it is."""
    assert set(stale(NODES, built(), news(sources=frozenset({"sources/a"})))) == set(NODES)


def test_changed_code_makes_the_asset_and_its_descendants() -> None:
    """A new code version rebuilds downstream of itself only."""
    assert stale(NODES, built(orders="0"), news()) == ["orders", "revenue"]


def test_an_asset_that_was_never_built_is_made() -> None:
    """A half-finished first build is completed."""
    builds = built()
    del builds["revenue"]
    assert stale(NODES, builds, news()) == ["revenue"]


def test_the_order_is_that_of_the_lineage() -> None:
    """Every asset comes after those it derives from."""
    order = in_order(NODES)
    for name, node in NODES.items():
        assert all(order.index(parent) < order.index(name) for parent in node.parents)


def test_what_derives_from_an_asset_is_all_that_reads_it_however_indirectly() -> None:
    """Without the asset itself."""
    assert descendants(NODES, ["orders"]) == {"revenue"}
    assert descendants(NODES, ["sources/a", "revenue"]) == BEHIND_THE_LOG
    assert descendants(NODES, []) == set()
