"""The commands of the local platform: up, down, status, env."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from analytics_pipelines.local.platform import PlatformStatus


@click.command(short_help="Start Postgres and Redis, or attach to them.")
@click.option("--ui", is_flag=True, help="Start the Dagster UI, the daemon and dbt's documentation, too.")
def up(*, ui: bool) -> None:
    """Start Postgres and Redis, or attach to them, and bring the schema up to date."""
    from analytics_pipelines.local import platform
    from analytics_pipelines.local.dagster import write_dotenv
    from analytics_pipelines.local.ports import HOST
    from analytics_pipelines.migrations import migrate
    from analytics_pipelines.settings import load_settings

    settings = platform.up(load_settings())
    for name in migrate(settings):
        click.echo(f"migrated {name}")
    if ui:
        platform.up(settings, ui=True)
    write_dotenv(settings)
    for name, server in platform.status(settings).servers.items():
        if server.state == "running":
            click.echo(f"{name} runs" + (f" on {server.address}" if server.address else ""))
    if ui:
        click.echo(f"open http://{HOST}:{settings.ui_port}; `make down` stops everything and keeps the data")


@click.command()
def down() -> None:
    """Stop everything that `up` started; the data are kept."""
    from analytics_pipelines.local import platform
    from analytics_pipelines.settings import load_settings

    stopped = platform.down(load_settings())
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@click.command(short_help="Show the servers; exit code 1 when one is down.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Show the servers; exit code 1 when one that should run does not."""
    from analytics_pipelines.local import platform
    from analytics_pipelines.settings import load_settings

    found = platform.status(load_settings())
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print_table(found)
    if not found.is_healthy:
        raise click.exceptions.Exit(1)


@click.command(short_help="Print the platform's environment variables.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def env(*, as_json: bool) -> None:
    """Print the platform's environment variables: set -a; eval "$(pipelines env)"; set +a."""
    from analytics_pipelines.errors import PipelinesError
    from analytics_pipelines.local.dagster import dagster_environment
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    if settings.database_url is None or settings.redis_url is None:
        raise PipelinesError(f"no servers are known in {settings.home}; run `pipelines up` first")
    variables = {
        "PIPELINES_DATABASE_URL": settings.database_url.get_secret_value(),
        "PIPELINES_REDIS_URL": settings.redis_url.get_secret_value(),
        **dagster_environment(settings),
    }
    if as_json:
        click.echo(json.dumps(variables, indent=2))
        return
    for name, value in variables.items():
        click.echo(f"{name}={shlex.quote(value)}")


def _print_table(found: PlatformStatus) -> None:
    from pathlib import Path

    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("server", "state", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("address", no_wrap=True, min_width=len("127.0.0.1:65535"))  # narrow terminals: not the port
    for name in ("pid", "since (UTC)", "log"):
        table.add_column(name)
    for name, server in found.servers.items():
        colour = "green" if server.state == "running" else "red" if server.required else "dim"
        table.add_row(
            name,
            f"[{colour}]{server.state}[/]" if server.embedded else f"[{colour}]{server.state}[/], not ours",
            server.address or "-",
            str(server.pid or "-"),
            f"{server.since:%d %b %H:%M}" if server.since else "-",
            Path(server.log).name if server.log else "-",
        )
    Console().print(table)
    for writer in found.writers or []:
        age = "?" if writer["seconds"] is None else f"{writer['seconds']:.0f}"
        query = " ".join((writer["query"] or "").split())
        click.echo(f"the log waits for pid {writer['pid']} ({writer['application']}), open for {age} s: {query}")
    click.echo(f"state folder {found.home}, logs in its folder logs/")


COMMANDS = [up, down, status, env]
