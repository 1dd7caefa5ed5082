"""What appending costs: a batch of valid, deduplicated events against a raw COPY of the same rows into the same table."""

from __future__ import annotations

import itertools
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
                append = seconds(lambda: store.append_batch("appended", events))

                def copy() -> None:
                    with pool.connection() as connection, connection.cursor() as cursor:
                        with cursor.copy(bare.COPY) as rows:
                            for batch in itertools.batched(events, 1000):
                                rows.write("".join(bare._line("copied", event) for event in batch))

                raw = seconds(copy)
                read = seconds(lambda: sum(1 for _ in store.read(tenant_id="appended")))
        finally:
            platform.down(settings)
    rate, raw_rate = len(events) / append, len(events) / raw
    yield Figure(
        "batch append, validated and deduplicated",
        f"{rate:,.0f} events/s",
        f"raw COPY {raw_rate:,.0f} rows/s",
        rate / raw_rate,
        "",
        kept=True,
    )
    yield Figure("read back as objects", f"{len(events) / read:,.0f} events/s", "", None, "", kept=True)
