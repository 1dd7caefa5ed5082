"""Readers get the newest version of a payload; the log keeps what was sent."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.event_log.command_handling import Aggregate

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

STARTED = NewEvent(
    "app", "1", "experiment-e", "experiment_started", datetime(2017, 6, 1, tzinfo=UTC),
    {"experiment_id": "e", "name": "E", "variants": ["a", "b"], "note": Decimal(2**70)},
)  # fmt: skip
NEWEST = [{"variant": "a", "weight": 1}, {"variant": "b", "weight": 1}]


def _variants(_state: list[Any], data: dict[str, Any]) -> list[Any]:
    return data["variants"]


def test_every_reader_gets_the_newest_version(store: EventStore, database: ConnectionPool) -> None:
    """By position, by stream, by subscription and in an aggregate: version 1 is read as 2, and stays 1 in the log."""
    store.append("app", "experiment-e", [STARTED])
    with store.subscribe(after=0) as subscription:
        read = [next(store.read()), next(store.read_stream("app", "experiment-e")), next(subscription)]
    assert [(event.schema_version, event.data["variants"]) for event in read] == [(2, NEWEST)] * 3
    assert [event.data["note"] for event in read] == [2**70] * 3
    aggregate = Aggregate("experiment", list[Any], {"experiment_started": _variants}, code_version="1")
    with database.connection() as connection:
        assert aggregate.load(connection, "app", "experiment-e") == (NEWEST, 1)
        stored = connection.execute("select schema_version, data -> 'variants' from event_log.events").fetchone()
    assert stored == (1, ["a", "b"])
