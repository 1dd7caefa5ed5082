"""What the log costs: each figure against Postgres without our guarantees, or against another library, in the same run.

The events are those of the simulator. `BENCH_FULL=1` adds a log of 20 million events. Every commit is on disk
(`synchronous_commit` is on).
"""

from __future__ import annotations

import gc
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from analytics_pipelines import connections, migrations
from analytics_pipelines.ingestion import simulator
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings
from benchmarks import log_append, log_large, log_library, log_read, log_subscription, log_writers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import NewEvent
    from benchmarks.measure import Figure

    Group = Callable[[ConnectionPool, Settings, Sequence[NewEvent]], Iterator[Figure]]

EVENTS = 100_000

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
    create index on plain.events (tenant_id, correlation_id) where correlation_id is not null;
    reset role;
"""

GROUPS: dict[str, Group] = {
    "append": log_append.figures,
    "writers": log_writers.figures,
    "read": log_read.figures,
    "subscription": log_subscription.figures,
    "library": log_library.figures,
    "large": log_large.figures,
}


def figures(names: Sequence[str] = ()) -> Iterator[Figure]:
    """Yield the figures of these groups, or of all, on a platform of its own that is removed afterwards."""
    wanted = names or [name for name in GROUPS if name != "large" or os.environ.get("BENCH_FULL")]
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = platform.up(Settings(home=Path(folder), pool_size=16))
        try:
            migrations.migrate(settings)
            with psycopg.connect(connections.admin_url(settings)) as admin:
                admin.execute(PLAIN)
            os.environ["PIPELINES_HOME"] = folder  # where the vault finds the master key
            with connections.open_pool(settings) as pool:
                with pool.connection() as connection:
                    row = connection.execute("show synchronous_commit").fetchone()
                    assert row == ("on",)
                events = list({event.event_id: event for event in simulator.simulate(EVENTS, 1)}.values())
                gc.collect()
                gc.freeze()  # else each collection walks all these events, which a file's reader would not hold
                for name in wanted:
                    yield from GROUPS[name](pool, settings, events)
        finally:
            platform.down(settings)


ALL: dict[str, Callable[[], Iterator[Figure]]] = {
    "log": figures,
    **{f"log.{name}": partial(figures, [name]) for name in GROUPS},
}
"""What can be measured by name: everything, or one group of figures."""
