"""Eight processes that append at once, against the same processes on a table without our guarantees.

A transaction appends ten events to one stream. What goes to Postgres is prepared beforehand, so that Python, of which
eight share the cores with the server, is as little of it as it can be.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from typing import TYPE_CHECKING, Any

import psycopg

from analytics_pipelines import connections
from analytics_pipelines.event_log import store
from benchmarks.measure import ROUNDS, Figure, at_least

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.synchronize import Barrier

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

WRITERS = 8
TRANSACTIONS = 300
EVENTS = 10
PATIENCE = 60
PLAIN = """
    insert into plain.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version,
        sequence, occurred_at, correlation_id, causation_id, data)
    select %(tenant_id)s, version, source, event_id, stream_id, event_type, schema_version, sequence, occurred_at,
        correlation_id, causation_id, data
    from unnest(%(sources)b::text[], %(event_ids)b::text[], %(stream_ids)b::text[], %(event_types)b::text[],
        %(schema_versions)b::smallint[], %(sequences)b::bigint[], %(moments)b::timestamptz[],
        %(correlation_ids)b::text[], %(causation_ids)b::text[], %(payloads)b::text[]::jsonb[]) with ordinality
        as sent (source, event_id, stream_id, event_type, schema_version, sequence, occurred_at, correlation_id,
        causation_id, data, version)
"""


def figures(_pool: ConnectionPool, settings: Settings, events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the throughput of both, measured in turns."""
    url = connections.database_url(settings)
    ours: list[float] = []
    plain: list[float] = []
    for round_ in range(ROUNDS):
        plain.append(_together(url, PLAIN, events, f"plain-{round_}"))
        ours.append(_together(url, store._APPEND_STREAM, events, f"ours-{round_}"))  # noqa: SLF001 - what the store sends
    rate, baseline = statistics.median(ours), statistics.median(plain)
    yield at_least(f"{WRITERS} concurrent writers", rate, "without our guarantees", baseline, ">= 0.8x")


def _together(url: str, query: str, events: Sequence[NewEvent], tenant: str) -> float:
    """Return the events/s of all writers together, from the moment when all are connected."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(WRITERS + 1)
    share = TRANSACTIONS * EVENTS
    writers = [
        context.Process(
            target=_write, args=(url, query, events[number * share : (number + 1) * share], tenant, number, barrier)
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    barrier.wait(PATIENCE)  # a writer that died would leave the others waiting for ever
    started = time.perf_counter()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    return WRITERS * share / (time.perf_counter() - started)


def _write(  # noqa: PLR0913, PLR0917 - what a process is started with
    url: str, query: str, events: Sequence[NewEvent], tenant: str, number: int, barrier: Barrier
) -> None:
    transactions: list[dict[str, Any]] = []
    for start in range(0, len(events), EVENTS):
        share = events[start : start + EVENTS]
        sent = store._arguments(tenant, share, [str(event.data) for event in share], {})  # noqa: SLF001
        sent["stream_id"], sent["expected"] = f"stream-{number}-{start}", None
        sent["stream_ids"] = [sent["stream_id"]] * EVENTS
        transactions.append(sent)
    with psycopg.connect(url, autocommit=True, options=connections.RUNTIME_OPTIONS) as connection:
        connection.execute("select")
        barrier.wait(PATIENCE)
        for sent in transactions:
            connection.execute(query, sent)
