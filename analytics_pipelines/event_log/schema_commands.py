"""The commands about the catalog of event types: `pipelines events schemas list | check | export | document`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from analytics_pipelines.errors import PipelinesError


@click.group(name="schemas")
def schemas() -> None:
    """The event types: what each payload holds, in which versions."""


@schemas.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_types(*, as_json: bool) -> None:
    """List the types that events may have, your own included."""
    from analytics_pipelines.event_log.catalog import load_catalog
    from analytics_pipelines.settings import load_settings

    catalog = load_catalog(load_settings().schemas)
    rows = [
        {"event_type": event_type, "version": version, "built_in": (event_type, version) not in catalog.own}
        for event_type, version in sorted(catalog.validators)
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['event_type']} v{row['version']}{'' if row['built_in'] else '  (your own)'}")


@schemas.command()
def check() -> None:
    """Say whether the types still keep what the checked-in JSON Schemas promise, and whether your own can be read."""
    from analytics_pipelines.event_log.catalog import load_catalog
    from analytics_pipelines.event_log.schemas.compatibility import differences
    from analytics_pipelines.event_log.schemas.json_schema import FOLDER
    from analytics_pipelines.settings import load_settings

    own = load_catalog(load_settings().schemas).own
    found = differences(FOLDER)
    for line in (*found.breaking, *found.additive):
        click.echo(line, err=True)
    if found.breaking or found.additive:
        raise PipelinesError(
            f"event types: {len(found.breaking)} breaking and {len(found.additive)} additive changes; each line above "
            "says what to do"
        )
    click.echo(f"all built-in types are as promised; {len(own)} of your own")


@schemas.command()
@click.option("--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Where to; the package's own.")
def export(folder: Path | None) -> None:
    """Write the JSON Schema of every built-in type, a file each.

    Files of the folder that promise what the types do not keep are left alone, and the command fails.
    """
    from analytics_pipelines.event_log.schemas.compatibility import differences
    from analytics_pipelines.event_log.schemas.json_schema import FOLDER, files

    folder = FOLDER if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    broken = differences(folder).breaking
    if broken:
        for line in broken:
            click.echo(line, err=True)
        raise PipelinesError(f"{folder}: {len(broken)} breaking changes; nothing was written")
    written = files()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    click.echo(f"{len(written)} files in {folder}")


@schemas.command()
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="Where to; docs/events.md.")
def document(file: Path | None) -> None:
    """Write the page that lists every built-in type with its fields."""
    from analytics_pipelines.event_log.schemas.documentation import PAGE, page

    file = PAGE if file is None else file
    file.write_text(page(), encoding="utf-8")
    click.echo(f"{file} is written")


SCHEMAS_GROUP = schemas
