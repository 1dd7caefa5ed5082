"""The command that brings the schema up to date."""

from __future__ import annotations

import click


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date, once."""
    from analytics_pipelines.migrations import migrate as apply
    from analytics_pipelines.settings import load_settings

    applied = apply(load_settings())
    click.echo(f"applied {', '.join(applied)}" if applied else "nothing to apply")


COMMANDS = [migrate]
