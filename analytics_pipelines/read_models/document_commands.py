"""The command about the page of read models: `pipelines read-models document`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group(name="read-models")
def read_models() -> None:
    """The read models: which there are, and what their columns mean."""


@read_models.command()
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="Where to; docs/read-models.md.")
def document(file: Path | None) -> None:
    """Write the page that lists every read model with its columns."""
    from analytics_pipelines.read_models.documentation import PAGE, page

    file = PAGE if file is None else file
    file.write_text(page(), encoding="utf-8")
    click.echo(f"{file} is written")


COMMANDS = [read_models]
