"""The commands that bring events in: ingest, simulate."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from analytics_pipelines.event_log import BatchResult


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--tenant", required=True, help="Whose events they are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ingest(paths: tuple[Path, ...], tenant: str, *, as_json: bool) -> None:
    """Append files of CloudEvents to the log.

    The files are JSON Lines (.jsonl, .ndjson, also .gz). What was sent before changes nothing. What is refused is kept
    in event_log.quarantine with the reason, and is no failure of the command.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import BatchResult
    from analytics_pipelines.ingestion.files import ingest_file
    from analytics_pipelines.settings import load_settings

    started = time.perf_counter()
    result = BatchResult()
    with open_pool(load_settings()) as pool:
        for path in paths:
            result += ingest_file(pool, tenant, path)
    _report(result, time.perf_counter() - started, as_json=as_json)


@click.command()
@click.option("--events", required=True, type=click.IntRange(min=1), help="How many events to simulate.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same events.")
@click.option("--tenant", default="saas", show_default=True, help="Whose events they shall be.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(events: int, seed: int, tenant: str, *, as_json: bool) -> None:
    """Append the events of a simulated software company to the log, reproducibly."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.ingestion.simulator import simulate as simulated
    from analytics_pipelines.settings import load_settings

    started = time.perf_counter()
    with open_pool(load_settings()) as pool:
        result = EventStore(pool).append_batch(tenant, simulated(events, seed))
    _report(result, time.perf_counter() - started, as_json=as_json)


def _report(result: BatchResult, seconds: float, *, as_json: bool) -> None:
    counts = {"accepted": result.accepted, "duplicates": result.duplicates, "quarantined": result.quarantined}
    if as_json:
        click.echo(json.dumps({**counts, "seconds": round(seconds, 3)}))
        return
    click.echo(", ".join(f"{count:,} {name}" for name, count in counts.items()) + f" in {seconds:.1f} s")
    if result.quarantined:
        click.echo("why: select kind, reason, origin from event_log.quarantine", err=True)


COMMANDS = [ingest, simulate]
