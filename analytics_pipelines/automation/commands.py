"""The commands that build the lineage, and remove what is in it no more."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagster import Definitions

    from analytics_pipelines.automation.build import BuildReport


@dataclass(frozen=True)
class CommandContext:
    """What the command line hands to its commands.

    Attributes:
        load_definitions: imports the Dagster definitions, which takes seconds and is done by those who need them.
    """

    load_definitions: Callable[[], Definitions]


@click.command(short_help="Bring in what waits, make every stale asset.")
@click.option("--all", "everything", is_flag=True, help="Also make what is up to date.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def build(context: CommandContext, *, everything: bool, as_json: bool) -> None:
    """Make what is stale: ingest what waits, and build every asset to the position the log has come to."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    from analytics_pipelines.automation.build import build as build_lineage
    from analytics_pipelines.settings import load_settings

    started = time.perf_counter()
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, made: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=made)
            if made == total:
                bars.stop_task(tasks[stage])

        report = build_lineage(
            load_settings(), context.load_definitions(), everything=everything, show=show, say=bars.console.print
        )
    seconds = time.perf_counter() - started
    if as_json:
        click.echo(json.dumps(_as_json(report, seconds), indent=2))
    else:
        _print(report, seconds)
    if report.failures:
        raise click.exceptions.Exit(1)


def _as_json(report: BuildReport, seconds: float) -> dict[str, object]:
    assets = [
        {"asset": name, "rows": done.rows, "seconds": round(done.seconds, 3), "built_to_position": done.position}
        for name, done in report.builds.items()
    ]
    return {
        "run_id": report.run_id,
        "position": report.position,
        "made": report.made,
        "not_made": report.not_made,
        "failures": report.failures,
        "seconds": round(seconds, 3),
        "retired": report.retired,
        "ignored": report.ignored,
        "assets": assets,
    }


def _print(report: BuildReport, seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    made = [(name, done) for name, done in report.builds.items() if name in report.made]
    if made:
        table = Table("asset", box=None)
        for name in ("rows", "seconds", "built to position"):
            table.add_column(name, justify="right")
        for name, done in sorted(made, key=lambda item: item[1].built_at):
            rows = "view" if done.rows is None else f"{done.rows:,}"
            table.add_row(name, rows, f"{done.seconds:.2f}", f"{done.position:,}")
        Console().print(table)
    for failure in report.failures:
        click.echo(f"failed: {failure}", err=True)
    if report.failures:
        click.echo(
            f"made: {len(report.made)}, failed or kept back by that: {len(report.not_made)}; the run {report.run_id} "
            "in the UI tells more; the next `pipelines build` goes on from here",
            err=True,
        )
    elif report.made:
        click.echo(f"{len(report.made)} asset{'s' * (len(report.made) != 1)} made in {seconds:.1f} s")
    else:
        click.echo(f"everything is up to date with position {report.position:,} of the log ({seconds:.1f} s)")
    for name, reason in report.ignored.items():
        click.echo(f"landing/{name} is left where it is; {reason}", err=True)
    for name in report.retired:
        click.echo(f"{name} is no more in the project and stays as it is; `pipelines drop {name}` removes it", err=True)


@click.command(short_help="Remove a read model or mart that was taken out of the project.")
@click.argument("asset")
@click.pass_obj
def drop(context: CommandContext, asset: str) -> None:
    """Remove ASSET, as read_models/NAME or marts/NAME, whose file was taken out of the project, from the database.

    `pipelines build` names what there is to remove. The log keeps the events: a file that comes back is built again.
    """
    from analytics_pipelines.automation import jobs, removal
    from analytics_pipelines.automation.selection import nodes_of
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool:
        graph = context.load_definitions().resolve_asset_graph()
        dropped = removal.drop(pool, asset, nodes_of(graph, jobs.lineage))
    click.echo(f"dropped {', '.join(dropped)}")


COMMANDS = [build, drop]
