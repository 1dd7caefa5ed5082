"""The Python library `eventsourcing` with its Postgres recorder, in the same run: appends and replays of one stream.

Both append the same payments to one aggregate, a hundred in a transaction with the expected version and all of them in
bulk, and replay them into its state. Nothing is measured where the library is not installed.
"""

from __future__ import annotations

import importlib.util
import statistics
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, NewEvent
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

EVENTS = 10_000
TRANSACTION = 100
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def payments(count: int, stream: str = "order-1") -> list[NewEvent]:
    """Return so many payments of one order."""
    return [
        NewEvent("till", f"{stream}/{number}", stream, "order_paid", NOON, {"order_id": "1", "amount": Decimal("1.50")})
        for number in range(count)
    ]


def figures(pool: ConnectionPool, settings: Settings, replayed: float) -> Iterator[Figure]:
    """Yield both ratios; `replayed` is how fast we replay the same stream."""
    if importlib.util.find_spec("eventsourcing") is None:
        yield Figure("against the library eventsourcing", "not installed", "")
        return
    theirs_small, theirs_bulk, theirs_replay = _library(settings)
    store = EventStore(pool)
    small: list[float] = []
    bulk: list[float] = []
    for round_ in range(3):
        stream = f"order-{round_}"
        events = payments(EVENTS, stream)

        def append(stream: str = stream, events: list[NewEvent] = events) -> None:
            for start in range(0, EVENTS, TRANSACTION):
                store.append("library", stream, events[start : start + TRANSACTION], expected_version=start)

        small.append(EVENTS / seconds(append))
        bulk.append(EVENTS / seconds(lambda events=events: store.append_batch("library-bulk", events)))
    figures = (
        ("appends in bulk", statistics.median(bulk), theirs_bulk, ">= 3x"),
        (f"appends, {TRANSACTION} in a transaction", statistics.median(small), theirs_small, ""),
        ("replay", replayed, theirs_replay, ">= 3x"),
    )
    for what, rate, theirs, limit in figures:
        ratio = rate / theirs
        value, baseline = f"{rate:,.0f} events/s", f"eventsourcing {theirs:,.0f}"
        yield Figure(what, value, baseline, ratio, limit, not limit or ratio >= 3)


def _library(settings: Settings) -> tuple[float, float, float]:
    """Return how many events the library appends by the hundred, in bulk, and replays in a second."""
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate, event

    class Order(Aggregate):
        def __init__(self) -> None:
            self.paid = Decimal(0)

        @event("Paid")
        def pay(self, order_id: str, amount: Decimal) -> None:  # noqa: ARG002 - a field of the event
            self.paid += amount

    parts = urlsplit(connections.admin_url(settings))
    application: Application = Application(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": parts.path.lstrip("/"),
            "POSTGRES_HOST": parts.hostname or "",
            "POSTGRES_PORT": str(parts.port),
            "POSTGRES_USER": unquote(parts.username or ""),
            "POSTGRES_PASSWORD": unquote(parts.password or ""),
        }
    )

    def append(order: Order, transaction: int) -> None:
        for _ in range(0, EVENTS, transaction):
            for _ in range(transaction):
                order.pay("1", Decimal("1.50"))
            application.save(order)

    rates: list[tuple[float, float, float]] = []
    for _ in range(3):
        one, other = Order(), Order()
        small = EVENTS / seconds(lambda order=one: append(order, TRANSACTION))
        bulk = EVENTS / seconds(lambda order=other: append(order, EVENTS))
        replay = EVENTS / seconds(lambda order=one: application.repository.get(order.id))
        rates.append((small, bulk, replay))
    application.close()
    small, bulk, replay = (statistics.median(column) for column in zip(*rates, strict=True))
    return small, bulk, replay
