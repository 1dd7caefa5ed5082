"""Reading in batches against COPY TO of the same columns, and replaying one stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from analytics_pipelines import connections
from analytics_pipelines.event_log import Event, EventStore
from analytics_pipelines.event_log.command_handling import Aggregate
from benchmarks.log_library import payments
from benchmarks.measure import Figure, at_least, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

STREAM_EVENTS = 10_000
COLUMNS = f"{', '.join(Event._fields[:-1])}, data"
COPY_TO = f"copy (select {COLUMNS} from event_log.events where tenant_id = 'read' order by position) to stdout"


def figures(pool: ConnectionPool, settings: Settings, events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the rates of reading as objects, with payloads decoded, and as Arrow, and of a replay."""
    store = EventStore(pool)
    store.append_batch("read", events)
    with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
        admin.execute("vacuum analyze event_log.events")
    count = len(events)

    def copy_to(_: int) -> None:
        with pool.connection() as connection, connection.cursor() as cursor, cursor.copy(COPY_TO.encode()) as rows:
            assert sum(1 for _ in rows) == count

    def read(_: int) -> None:
        assert sum(1 for _ in store.read(tenant_id="read")) == count

    def decode(_: int) -> None:
        assert sum(1 for event in store.read(tenant_id="read") if event.data) == count

    def arrow(_: int) -> None:
        assert sum(batch.num_rows for batch in store.read_arrow(tenant_id="read")) == count

    for what, way, limit in (
        ("read in batches, as objects", read, ">= 200,000"),
        ("the same, each payload decoded", decode, ">= 200,000"),
        ("read in batches, as Arrow", arrow, ">= 0.7x"),
    ):
        ours, raw = in_turns(way, copy_to)
        yield at_least(what, count / ours, "raw COPY TO", count / raw, limit)
    yield _replay(pool)


def _paid(amounts: list[Any], data: dict[str, Any]) -> list[Any]:
    amounts[0] += data["amount"]
    return amounts


ORDER: Aggregate[list[Any]] = Aggregate("order", lambda: [0], {"order_paid": _paid}, snapshot_every=None)


def replay(pool: ConnectionPool, tenant: str, stream: str) -> None:
    """Load an aggregate from all events of a stream of payments."""
    with pool.connection() as connection:
        assert ORDER.load(connection, tenant, stream)[1] == STREAM_EVENTS


def _replay(pool: ConnectionPool) -> Figure:
    EventStore(pool).append_batch("replayed", payments(STREAM_EVENTS))
    query = "select event_type, data::text from event_log.events where tenant_id = 'replayed' and stream_id = 'order-1'"

    def fetch(_: int) -> None:
        with pool.connection() as connection:
            assert len(connection.execute(query).fetchall()) == STREAM_EVENTS

    ours, raw = in_turns(lambda _: replay(pool, "replayed", "order-1"), fetch)
    what = f"a stream of {STREAM_EVENTS:,} replayed through an aggregate"
    return at_least(what, STREAM_EVENTS / ours, "the same rows fetched", STREAM_EVENTS / raw, ">= 120,000")
