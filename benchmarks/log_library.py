"""The Python library `eventsourcing` with its Postgres recorder, in the same run: appends and replays of one stream.

Both append the same payments to one aggregate, a hundred in a transaction with the expected version and all of them in
bulk, and replay them into its state. Nothing is measured where the library is not installed.
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, NewEvent
from benchmarks.measure import ROUNDS, Figure, at_least, in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


def figures(pool: ConnectionPool, settings: Settings, _events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the rates of both, measured in turns."""
    if importlib.util.find_spec("eventsourcing") is None:
        yield Figure("against the library eventsourcing", "not installed", "")
        return
    from benchmarks.log_read import replay

    application, new_order, pay = _library(settings)
    store = EventStore(pool)
    orders = [new_order() for _ in range(ROUNDS + 1)]
    others = [new_order() for _ in range(ROUNDS + 1)]

    def append(round_: int) -> None:
        stream = f"order-{round_}"
        events = payments(EVENTS, stream)
        for start in range(0, EVENTS, TRANSACTION):
            store.append("library", stream, events[start : start + TRANSACTION], expected_version=start)

    for what, ours, theirs, limit in (
        (
            f"appends, {TRANSACTION} in a transaction",
            append,
            lambda n: pay(orders[n], TRANSACTION),
            ">= 3x",
        ),
        (
            "appends in bulk",
            lambda n: store.append_batch(f"library-{n}", payments(EVENTS)),
            lambda n: pay(others[n], EVENTS),
            ">= 3x",
        ),
        (
            "replay",
            lambda n: replay(pool, "library", f"order-{n}"),
            lambda n: application.repository.get(orders[n].id),
            ">= 3x",
        ),
    ):
        our_seconds, their_seconds = in_turns(ours, theirs)
        yield at_least(what, EVENTS / our_seconds, "eventsourcing", EVENTS / their_seconds, limit)
    application.close()


def _library(settings: Settings) -> tuple[Any, Callable[[], Any], Callable[[Any, int], None]]:
    """Return an application of the library's, what makes an order, and what appends so many payments at a time."""
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

    def pay(order: Order, transaction: int) -> None:
        for _ in range(0, EVENTS, transaction):
            for _ in range(transaction):
                order.pay("1", Decimal("1.50"))
            application.save(order)

    return application, Order, pay
