"""A log of 20 million events: appending and reading stay as fast as at one million, in bounded memory."""

from __future__ import annotations

import gc
import itertools
import resource
from typing import TYPE_CHECKING

from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion import simulator
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

MILLION = 1_000_000
LARGE = 20
READ = 200_000


def figures(pool: ConnectionPool) -> Iterator[Figure]:
    """Yield the rates of the first and of the twentieth million, and what ingesting added to this process's memory."""
    store = EventStore(pool)
    gc.unfreeze()
    before = _megabytes()
    appends: list[float] = []
    reads: list[float] = []
    for million in range(1, LARGE + 1):
        appended, read = _million(store, million)
        appends.append(appended)
        reads.append(read)
    for what, first, last in (("appended", appends[0], appends[-1]), ("read", reads[0], reads[-1])):
        kept = last / first >= 0.7
        name = f"{what} at {LARGE} million events, simulation included" if what == "appended" else f"{what} there"
        yield Figure(name, f"{last:,.0f} events/s", f"at 1 million {first:,.0f}", last / first, ">= 0.7x", kept)
    added = _megabytes() - before
    yield Figure("memory that ingesting added", f"{added:.0f} MB", "", None, "<= 400 MB", added <= 400)


def _million(store: EventStore, number: int) -> tuple[float, float]:
    """Append one million more and read them back; return both rates."""
    tenant, before = f"million-{number}", store.settled_position()
    appended = MILLION / seconds(lambda: store.append_batch(tenant, simulator.simulate(MILLION, number)))
    read = seconds(lambda: sum(1 for _ in itertools.islice(store.read(after=before), READ)))
    return appended, READ / read


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
