"""What appending costs: a batch of valid, deduplicated events against a raw COPY of the same rows into the table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion import simulator
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings
from benchmarks import bare
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent

EVENTS = 200_000


def figures() -> Iterator[Figure]:
    """Yield the figures of the log."""
    events = list({event.event_id: event for event in simulator.simulate(EVENTS, 1)}.values())
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = platform.up(Settings(home=Path(folder)))
        try:
            migrations.migrate(settings)
            with connections.open_pool(settings) as pool:
                store = EventStore(pool)
                raw = len(events) / seconds(lambda: _copy(pool, events))
                append = len(events) / seconds(lambda: store.append_batch("appended", events))
                read = len(events) / seconds(lambda: sum(1 for _ in store.read(tenant_id="appended")))
        finally:
            platform.down(settings)
    baseline = f"raw COPY {raw:,.0f} rows/s"
    yield Figure("append_batch, validated, deduplicated", f"{append:,.0f} events/s", baseline, append / raw)
    yield Figure("read back as objects", f"{read:,.0f} events/s", baseline, read / raw)


def _copy(pool: ConnectionPool, events: list[NewEvent]) -> None:
    with pool.connection() as connection, connection.cursor() as cursor, cursor.copy(bare.COPY) as rows:
        for batch in bare.batched(iter(events)):
            rows.write("".join(bare.line("copied", event) for event in batch))
