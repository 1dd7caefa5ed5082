"""How long an event takes from its commit to the handler of a subscription, at 2,000 events/s."""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING

from analytics_pipelines.event_log import EventStore, Gap
from benchmarks.measure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

RATE = 2_000
SECONDS = 3
TRANSACTION = 10


def figures(pool: ConnectionPool, _settings: Settings, events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the 95th percentile; the baseline is the append before the commit."""
    store = EventStore(pool)
    after = store.settled_position()
    sent = events[: RATE * SECONDS]
    committed: dict[str, float] = {}
    appended: list[float] = []
    handled: dict[str, float] = {}

    def follow() -> None:
        for event in store.subscribe(after=after, tenant_id="subscribed"):
            assert not isinstance(event, Gap)
            handled[event.event_id] = time.perf_counter()
            if len(handled) == len(sent):
                return

    handler = threading.Thread(target=follow, daemon=True)
    handler.start()
    started = time.perf_counter()
    for start in range(0, len(sent), TRANSACTION):
        due = started + start / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        begun = time.perf_counter()
        store.append_many("subscribed", sent[start : start + TRANSACTION])
        done = time.perf_counter()
        appended.append(done - begun)
        committed.update((event.event_id, done) for event in sent[start : start + TRANSACTION])
    handler.join(timeout=30)
    assert len(handled) == len(sent), f"{len(handled)} of {len(sent)} events reached the handler"
    p95 = statistics.quantiles([handled[key] - moment for key, moment in committed.items()], n=20)[-1]
    yield Figure(
        f"commit to handler at {RATE:,} events/s, p95",
        f"{max(p95, 0) * 1000:.1f} ms",
        f"the append itself {statistics.median(appended) * 1000:.1f} ms",
        None,
        "<= 20 ms",
        p95 <= 0.02,
    )
