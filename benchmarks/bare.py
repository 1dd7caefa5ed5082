"""The baseline of a build: the same input and the same SQL, in one script, without anything around it.

Reads the same Parquet files, COPYs the same events into the log's table, folds the same read models and runs dbt's
compiled SQL in order. No validation, no deduplication, no tests, no Dagster, no account of anything.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import psycopg
from psycopg import sql

from analytics_pipelines.ingestion import demo, grocer, simulator
from analytics_pipelines.read_models import sql as read_model_sql
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_pipelines.event_log import NewEvent

COPY = """
    copy event_log.events (tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence,
        occurred_at, data) from stdin
"""


def build(url: str, compiled: Path) -> None:
    """Build the demo up to the marts in an empty, migrated database.

    Args:
        url: the admin login's URL of that database.
        compiled: the folder into which dbt compiled the project.
    """
    with psycopg.connect(url) as connection:
        with connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for lines in _in_batches():
                copy.write(lines)
        up_to = connection.execute("select max(position) from event_log.events").fetchone()
        assert up_to is not None
        connection.execute("insert into progress.pins values ('bare', %s)", up_to)
        connection.execute(
            "insert into progress.watermarks select tenant_id, %s, max(occurred_at) from event_log.events group by 1",
            up_to,
        )
        connection.commit()
        for model in READ_MODELS.values():
            table = f"read_models.{model.name}_state"
            everything = {"after": 0, "up_to": up_to[0]}
            connection.execute(f"create table {table} as {read_model_sql.fold(model)}", everything)
            connection.execute(f"create view read_models.{model.name} as {read_model_sql.view(model, table)}")
        connection.commit()
        for schema, name, kind, file in models_in_order(compiled):
            target = sql.Identifier(schema, name)
            text = file.read_text().replace('"pipelines".', "")  # dbt names the database it was compiled for
            query = sql.SQL("create {} {} as {}").format(
                sql.SQL(kind.replace("incremental", "table")), target, sql.SQL(text)
            )
            connection.execute(query)
            connection.commit()


def _in_batches() -> Iterator[str]:
    grocers = ("grocer", grocer.events())
    seen: set[str] = set()
    simulated = ("saas", simulator.simulate(demo.SIMULATED_EVENTS, demo.SIMULATED_SEED))
    for tenant, events in (grocers, simulated):
        for batch in batched(events):
            yield "".join(line(tenant, event) for event in batch if _is_first(seen, tenant, event))


def batched(events: Iterator[NewEvent]) -> Iterator[list[NewEvent]]:
    """Cut events into batches of a thousand."""
    while batch := list(itertools.islice(events, 1000)):
        yield batch


def _is_first(seen: set[str], tenant: str, event: NewEvent) -> bool:
    if tenant != "saas":
        return True
    is_first = event.event_id not in seen
    seen.add(event.event_id)
    return is_first


def line(tenant: str, event: NewEvent) -> str:
    """Write an event in COPY's text format."""
    data = str(event.data).replace("\\", "\\\\")
    return (
        f"{tenant}\t{event.source}\t{event.event_id}\t{event.stream_id}\t1\t{event.event_type}\t1\t{event.sequence}\t"
        f"{event.occurred_at.isoformat()}\t{data}\n"
    )


def models_in_order(compiled: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Yield schema, name, kind (table or view) and compiled file of every dbt model, after what it reads."""
    manifest = orjson.loads((PROJECT_FOLDER / "dbt_project" / "target" / "manifest.json").read_bytes())
    models = {name: node for name, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    done: set[str] = set()
    while len(done) < len(models):
        for name, node in sorted(models.items()):
            if name not in done and all(
                parent in done or parent not in models for parent in node["depends_on"]["nodes"]
            ):
                done.add(name)
                file = compiled / "analytics_pipelines" / node["original_file_path"]
                kind = "view" if node["config"]["materialized"] == "view" else "table"
                yield node["schema"], node["name"], kind, file
