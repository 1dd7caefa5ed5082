"""`pipelines rebuild`: serve what a declaration says, put rows right, or go back to the version served before."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from psycopg import Connection

    from analytics_pipelines.read_models.rebuild import Rebuilt


@click.command(short_help="Rebuild a read model beside the one that is served, and switch.")
@click.argument("model", required=False)
@click.option("--back", is_flag=True, help="Serve the former version again, and hold it until the next rebuild.")
@click.option("--key", default="", help="Put right the row of this key only; several columns are joined by /.")
@click.option("--tenant", default="", help="With --key: whose row.")
@click.option(
    "--from-what-is-left", is_flag=True, help="Go on although partitions are detached: their events are lost."
)
@click.option("--list", "listing", is_flag=True, help="List the versions that are kept, of all models or of MODEL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def rebuild(  # noqa: PLR0913 - the options
    model: str | None, *, back: bool, key: str, tenant: str, from_what_is_left: bool, listing: bool, as_json: bool
) -> None:
    """Fold MODEL from zero while readers go on, compare it with a replay, and switch to it.

    Where the declaration has not changed, the rows that differ from a replay are replaced.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.read_models import rebuild as rebuilding
    from analytics_pipelines.read_models.models import READ_MODELS
    from analytics_pipelines.settings import load_settings

    if model is not None and model not in READ_MODELS:
        raise click.BadParameter(f"there is no read model {model}; there are {', '.join(READ_MODELS)}")
    if model is None and not listing:
        raise click.UsageError("name a MODEL, or give --list")
    if bool(key) != bool(tenant):
        raise click.UsageError("--key and --tenant go together")
    if back and (key or listing):
        raise click.UsageError("--back goes with MODEL alone")
    with open_pool(load_settings()) as pool:
        if listing:
            with pool.connection() as connection:
                _print_versions([model] if model else list(READ_MODELS), connection, as_json=as_json)
            return
        assert model is not None
        settled = EventStore(pool).settled_position()
        if back:
            done = rebuilding.go_back(pool, model, settled)
        else:
            done = rebuilding.rebuild(
                pool, READ_MODELS[model], settled, tenant=tenant, key=key, from_what_is_left=from_what_is_left
            )
    click.echo(json.dumps(asdict(done)) if as_json else _line(done, held=back, key=key))


def _line(done: Rebuilt, *, held: bool, key: str) -> str:
    if done.former is not None:
        after = f"; it is held until `pipelines rebuild {done.model}`" if held else ""
        text = f"{done.model}: version {done.version} is served instead of {done.former}{after}"
    elif done.repaired:
        text = f"{done.model}: {done.repaired} rows were wrong and are replaced: {', '.join(done.examples)}"
    else:
        text = f"{done.model}: {f'row {key}' if key else f'version {done.version}'} is served and equals a replay"
    advice = "; `pipelines build` makes what derives from it" if done.former or done.repaired else ""
    return f"{text} ({done.seconds:.1f} s){advice}"


def _print_versions(names: list[str], connection: Connection, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from analytics_pipelines import progress
    from analytics_pipelines.read_models import sql, versions
    from analytics_pipelines.read_models.models import READ_MODELS

    found: list[dict[str, Any]] = [
        {
            "model": name,
            "version": entry.version.version,
            "state": entry.state,
            "held": entry.held,
            "declared": entry.version.version == sql.version(READ_MODELS[name]),
            "position": progress.position_of(connection, entry.version.table),
            "built_at": entry.built_at.isoformat(),
            "switched_at": entry.switched_at.isoformat() if entry.switched_at else None,
        }
        for name in names
        for entry in versions.entries(connection, name)
    ]
    if as_json:
        click.echo(json.dumps(found))
        return
    table = Table("model", "version", "state", box=None)
    table.add_column("position", justify="right")
    table.add_column("built at")
    for row in found:
        state = f"{row['state']}{', held' * row['held']}{', declared' * row['declared']}"
        table.add_row(row["model"], row["version"], state, f"{row['position']:,}", row["built_at"][:19])
    Console().print(table)


COMMANDS = [rebuild]
