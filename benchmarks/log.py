"""What the log costs: appending, reading, replaying, each against Postgres without our guarantees, in the same run.

The events are those of the simulator. `BENCH_FULL=1` adds a log of 20 million events. Every commit is on disk
(`synchronous_commit` is on); the tables of the baselines are copies of the log's table, with its indexes.
"""

from __future__ import annotations

import gc
import io
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.event_log.command_handling import Aggregate
from analytics_pipelines.ingestion import simulator
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings
from benchmarks import bare, log_large, log_library, log_subscription, log_writers
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent

EVENTS = 100_000
ROUNDS = 3
SINGLE_APPENDS = 400
STREAM_EVENTS = 10_000

# A plain copy of the log's table: the same columns and indexes; no partitions, lock, identities or stream heads.
PLAIN = """
    create schema plain authorization pipelines_runtime;
    set role pipelines_runtime;
    create table plain.events (like event_log.events including defaults including constraints);
    create sequence plain.positions;
    alter table plain.events alter position set default nextval('plain.positions');
    alter table plain.events add primary key (position);
    create index on plain.events (tenant_id, stream_id, stream_version);
    create index on plain.events (tenant_id, event_type, position);
    reset role;
"""
INSERT = """
    insert into plain.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version,
        sequence, occurred_at, data)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
COPY_TO = "copy (select * from event_log.events where tenant_id = 'appended-1' order by position) to stdout"


def figures() -> Iterator[Figure]:
    """Yield the figures of the log, on a platform of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = platform.up(Settings(home=Path(folder), pool_size=16))
        try:
            migrations.migrate(settings)
            with psycopg.connect(connections.admin_url(settings)) as admin:
                admin.execute(PLAIN)
            with connections.open_pool(settings) as pool:
                with pool.connection() as connection:
                    row = connection.execute("show synchronous_commit").fetchone()
                    assert row == ("on",)
                yield from _all(pool, settings)
        finally:
            platform.down(settings)


def _all(pool: ConnectionPool, settings: Settings) -> Iterator[Figure]:
    events = list({event.event_id: event for event in simulator.simulate(EVENTS, 1)}.values())
    gc.collect()
    gc.freeze()  # else each collection walks all these events, which a file's reader would not hold
    yield _batches(pool, events)
    yield _single(pool, events)
    yield log_writers.figure(settings, events)
    yield from _reads(pool, len(events))
    yield _replay(pool)
    yield from log_subscription.figures(pool, events)
    yield from log_library.figures(pool, settings, _replayed(pool))
    if os.environ.get("BENCH_FULL"):
        yield from log_large.figures(pool)


def _at_least(what: str, rate: float, name: str, baseline: float, limit: str) -> Figure:
    """Return a figure of events/s; `limit` is a ratio to the baseline (">= 0.5x"), a rate, or both."""
    wanted = [
        float(part.strip(" >=x").replace(",", "")) <= (rate / baseline if part.endswith("x") else rate)
        for part in limit.split(" and ")
    ]
    return Figure(what, f"{rate:,.0f} events/s", f"{name} {baseline:,.0f}", rate / baseline, limit, all(wanted))


def _alternating(count: int, ours: Callable[[int], object], baseline: Callable[[int], object]) -> tuple[float, float]:
    """Return the median rates of two ways, measured in turns: a shared machine is not as fast at every moment."""
    times = [(seconds(lambda n=n: baseline(n)), seconds(lambda n=n: ours(n))) for n in range(1, ROUNDS + 1)]
    slower, faster = (statistics.median(side) for side in zip(*times, strict=True))
    return count / faster, count / slower


def _batches(pool: ConnectionPool, events: list[NewEvent]) -> Figure:
    store = EventStore(pool)
    lines = ["".join(bare.line("TENANT", event) for event in batch) for batch in bare.batched(iter(events))]

    def copy(round_: int) -> None:
        named = [text.replace("TENANT\t", f"copied-{round_}\t") for text in lines]
        with pool.connection() as connection, connection.cursor() as cursor, cursor.copy(bare.COPY) as rows:
            for text in named:
                rows.write(text)

    append, raw = _alternating(len(events), lambda n: store.append_batch(f"appended-{n}", events), copy)
    what = "bulk append, validated, deduplicated"
    return _at_least(what, append, "raw COPY of the same rows", raw, ">= 0.5x and >= 100,000")


def _single(pool: ConnectionPool, events: list[NewEvent]) -> Figure:
    store = EventStore(pool)
    ours: list[float] = []
    plain: list[float] = []
    with pool.connection() as session:
        session.autocommit = True
        for number, event in enumerate(events[:SINGLE_APPENDS]):
            row = [
                "single", number, event.source, event.event_id, event.stream_id, event.event_type,
                event.schema_version, event.sequence, event.occurred_at, event.data,
            ]  # fmt: skip
            plain.append(seconds(lambda row=row: session.execute(INSERT, row)))
            ours.append(seconds(lambda event=event: store.append("single", event.stream_id, [event])))
        session.autocommit = False
    ratio = statistics.median(ours) / statistics.median(plain)
    return Figure(
        "single append, p50",
        f"{statistics.median(ours) * 1000:.2f} ms",
        f"bare INSERT {statistics.median(plain) * 1000:.2f} ms",
        ratio,
        "<= 2x",
        ratio <= 2,
    )


def _reads(pool: ConnectionPool, count: int) -> Iterator[Figure]:
    store = EventStore(pool)

    def copy_to(_: int) -> None:
        with pool.connection() as connection, connection.cursor() as cursor, cursor.copy(COPY_TO) as rows:
            sink = io.BytesIO()
            for block in rows:
                sink.write(block)

    def read(_: int) -> None:
        assert sum(1 for _ in store.read(tenant_id="appended-1")) == count

    objects, raw = _alternating(count, read, copy_to)
    yield _at_least("read in batches, as objects", objects, "raw COPY TO", raw, ">= 200,000")
    read_arrow = getattr(store, "read_arrow", None)
    if read_arrow is not None:

        def arrow(_: int) -> None:
            assert sum(batch.num_rows for batch in read_arrow(tenant_id="appended-1")) == count

        batches, raw = _alternating(count, arrow, copy_to)
        yield _at_least("read in batches, as Arrow", batches, "raw COPY TO", raw, ">= 0.7x")


def _paid(amounts: list[Any], data: dict[str, Any]) -> list[Any]:
    amounts[0] += data["amount"]
    return amounts


ORDER: Aggregate[list[Any]] = Aggregate("order", lambda: [0], {"order_paid": _paid}, snapshot_every=None)


def _replayed(pool: ConnectionPool) -> float:
    def replay() -> None:
        with pool.connection() as connection:
            assert ORDER.load(connection, "replayed", "order-1")[1] == STREAM_EVENTS

    return STREAM_EVENTS / statistics.median(seconds(replay) for _ in range(5))


def _replay(pool: ConnectionPool) -> Figure:
    EventStore(pool).append_batch("replayed", log_library.payments(STREAM_EVENTS))
    query = "select event_type, data::text from event_log.events where tenant_id = 'replayed' and stream_id = 'order-1'"

    def fetch() -> None:
        with pool.connection() as connection:
            assert len(connection.execute(query).fetchall()) == STREAM_EVENTS

    raw = STREAM_EVENTS / statistics.median(seconds(fetch) for _ in range(5))
    what = f"a stream of {STREAM_EVENTS:,} replayed through an aggregate"
    return _at_least(what, _replayed(pool), "the same rows fetched", raw, ">= 120,000")
