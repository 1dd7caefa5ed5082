"""A log of 20 million events: appending and reading stay as fast as at one million, in bounded memory."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import resource
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion import simulator
from benchmarks.measure import Figure, at_least, median_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

MILLION = 1_000_000
LARGE = 20


def figures(pool: ConnectionPool, settings: Settings, events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the rates at the first and at the twentieth million, and the memory of the process that ingested."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(_ingest, settings, range(1, 2)).result()
        first = _rates(pool, events, "first")
        memory = process.submit(_ingest, settings, range(2, LARGE + 1)).result()
        last = _rates(pool, events, "last")
    for what, at_first, at_last in zip(("appended", "read"), first, last, strict=True):
        yield at_least(f"{what} at {LARGE} million events", at_last, "at 1 million", at_first, ">= 0.7x")
    yield Figure("memory of the process that ingested them", f"{memory:.0f} MB", "", None, "<= 400 MB", memory <= 400)


def _ingest(settings: Settings, millions: Sequence[int]) -> float:
    """Append so many millions; return the most memory, in megabytes, that this process has had."""
    with connections.open_pool(settings) as pool:
        for million in millions:
            EventStore(pool).append_batch(f"million-{million}", simulator.simulate(MILLION, million))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _rates(pool: ConnectionPool, events: Sequence[NewEvent], name: str) -> tuple[float, float]:
    """Return the events/s of appending and of reading what was appended."""
    store = EventStore(pool)
    gc.collect()
    appended = median_of(lambda n: store.append_batch(f"{name}-{n}", events))
    after = store.settled_position() - len(events)
    read = median_of(lambda _: sum(1 for _ in itertools.islice(store.read(after=after), len(events))))
    return len(events) / appended, len(events) / read
