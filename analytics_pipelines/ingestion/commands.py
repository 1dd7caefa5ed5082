"""The commands that bring events in: ingest, simulate."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from analytics_pipelines.event_log import BatchResult

STANDARD_INPUT = Path("-")


@click.command()
@click.argument(
    "paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--tenant", required=True, help="Whose events they are.")
@click.option(
    "--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML: how rows become events."
)
@click.option("--dry-run", is_flag=True, help="Read the first rows, say what would become of them, write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ingest(paths: tuple[Path, ...], tenant: str, mapping: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Append files of events to the log.

    CloudEvents are read from JSON (.json: one or an array; .jsonl, .ndjson: one a line); plain JSON, .csv, .tsv and
    .parquet with --mapping, which --dry-run proposes. Each also as .gz or .zst; `-` reads JSON Lines of CloudEvents
    from standard input. What was sent before changes nothing. What is refused is kept in event_log.quarantine with the
    reason, and is no failure of the command. A file that cannot be read is one, and keeps no other from being read.
    With --dry-run --json, several files give an array of objects.
    """
    if mapping is not None and STANDARD_INPUT in paths:
        raise click.UsageError("standard input is read as CloudEvents; give a file where a mapping is needed")
    if dry_run:
        _dry_run(paths, mapping, as_json=as_json)
        return
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import BatchResult
    from analytics_pipelines.event_log.cloud_events import parse_event
    from analytics_pipelines.ingestion.files import ingest_file
    from analytics_pipelines.ingestion.formats import lines
    from analytics_pipelines.ingestion.once import PartlyReadError, append_counted
    from analytics_pipelines.settings import load_settings

    started = time.perf_counter()
    result = BatchResult()
    failed: list[PipelinesError] = []
    with open_pool(load_settings()) as pool, _progress() as show:
        for path in paths:
            try:
                if path == STANDARD_INPUT:
                    sent = (parse_event(*line) for line in lines(sys.stdin.buffer, "standard input"))
                    result += append_counted(pool, tenant, sent, "standard input", partial(show, "standard input"))
                else:
                    result += ingest_file(pool, tenant, path, mapping, partial(show, path.name))
            except PartlyReadError as error:
                result += error.result
                failed.append(error)
            except PipelinesError as error:
                failed.append(error)
    if len(failed) < len(paths) or result.sent:
        _report(result, time.perf_counter() - started, tenant, as_json=as_json)
    for error in failed[:-1]:
        click.echo(f"error: {error}", err=True)
    if failed:
        raise failed[-1]


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
    _report(result, time.perf_counter() - started, tenant, as_json=as_json)


def _report(result: BatchResult, seconds: float, tenant: str, *, as_json: bool) -> None:
    counts = {"accepted": result.accepted, "duplicates": result.duplicates, "quarantined": result.quarantined}
    if as_json:
        click.echo(json.dumps({**counts, "seconds": round(seconds, 3)}))
        return
    click.echo(", ".join(f"{count:,} {name}" for name, count in counts.items()) + f" in {seconds:.1f} s")
    if result.quarantined:
        click.echo(f"why: pipelines quarantine list --tenant {tenant}", err=True)


@contextmanager
def _progress() -> Generator[Callable[[str, int], None]]:
    """Show on a terminal how many events were read."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda name, events: None  # noqa: ARG005 - nobody looks
        return
    with console.status("reading") as status:
        yield lambda name, events: status.update(f"{name}: {events:,} events read")


def _dry_run(paths: tuple[Path, ...], mapping: Path | None, *, as_json: bool) -> None:
    from analytics_pipelines.event_log.validation import json_text
    from analytics_pipelines.ingestion.mapping import load_mappings
    from analytics_pipelines.ingestion.proposal import dry_run

    if STANDARD_INPUT in paths:
        raise PipelinesError("-: standard input can be read only once; give a file to --dry-run")
    mappings = [] if mapping is None else load_mappings(mapping)
    tried = ((path, dry_run(path, mappings)) for path in paths)
    if as_json:
        found = [json_text({"path": str(path), **vars(done)}) for path, done in tried]
        click.echo(f"[{', '.join(found)}]" if len(found) > 1 else found[0])
        return
    for path, done in tried:
        if done.proposed is not None:
            click.echo(f"# a mapping for {path.name}: correct it, above all event_type, and give it with --mapping")
            click.echo(done.proposed)
        events = sum(done.events.values())
        refused = sum(done.refused.values())
        click.echo(
            f"# {path.name}: of the first {done.rows:,} rows {events:,} would be accepted, unless the log has them, "
            f"and {refused:,} refused"
        )
        for event_type, count in sorted(done.events.items()):
            click.echo(f"#   {count:,} {event_type}")
        for event in done.first:
            click.echo(f"#   {json_text(event)}")
        for reason, count in done.refused.most_common(10):
            click.echo(f"#   {count:,} refused: {reason}")


COMMANDS = [ingest, simulate]
