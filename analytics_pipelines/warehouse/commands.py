"""`pipelines access`: who of the BI tools' logins sees which tenants. `pipelines dbt`: dbt over the warehouse."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.group()
def access() -> None:
    """Let logins of BI tools read the warehouse, each the rows of its tenants."""


@access.command()
@click.argument("login")
@click.option("--tenant", "tenants", multiple=True, required=True, help="Whose rows it sees; may be given again.")
@click.option("--create", is_flag=True, help="Make the login; its password is chosen and printed once.")
@click.option("--password-stdin", is_flag=True, help="Read the password of a login that is made from standard input.")
@click.option("--connections", type=click.IntRange(min=1), help="Sessions at once; 10 for a new one.")
@click.option("--statement-seconds", type=click.IntRange(min=1), help="Time of a statement; 30 for a new one.")
def grant(  # noqa: PLR0913 - one for each option
    login: str,
    tenants: tuple[str, ...],
    *,
    create: bool,
    password_stdin: bool,
    connections: int | None,
    statement_seconds: int | None,
) -> None:
    """Let LOGIN read the rows of a tenant, besides those it already sees."""
    from analytics_pipelines.settings import load_settings
    from analytics_pipelines.warehouse import access as room

    if password_stdin and not create:
        raise click.UsageError("--password-stdin is for a login that is made; add --create")
    password = click.get_text_stream("stdin").readline().rstrip("\r\n") if password_stdin else None
    if password == "":
        raise click.UsageError("no password on standard input")
    limits = room.Limits(connections, statement_seconds)
    if not create:
        room.grant(load_settings(), login, tenants, limits)
    else:
        chosen = room.create(load_settings(), login, tenants, limits, password=password)
        if password is None:
            click.echo(chosen)
    # What it sees goes elsewhere than the password, which a program may want to keep.
    click.echo(f"{login} sees {', '.join(tenants)}", err=True)
    for tenant_id in room.without_events(load_settings(), tenants):
        click.echo(f"note: the log has no events of tenant {tenant_id} yet; is the name right?", err=True)


@access.command()
@click.argument("login")
@click.option("--tenant", "tenants", multiple=True, help="Whose rows it loses; may be given again.")
def revoke(login: str, tenants: tuple[str, ...]) -> None:
    """Take tenants from LOGIN, all of them when none is named; the login itself stays."""
    from analytics_pipelines.settings import load_settings
    from analytics_pipelines.warehouse import access as room

    left = room.revoke(load_settings(), login, tenants)
    click.echo(f"{login} still sees {', '.join(left)}" if left else f"{login} sees nothing any more")


@access.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_logins(*, as_json: bool) -> None:
    """List the logins and the tenants that each of them sees."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.settings import load_settings
    from analytics_pipelines.warehouse import access as room

    with open_pool(load_settings()) as pool:
        found = room.logins(pool)
    if as_json:
        click.echo(json.dumps([{"login": login.pop("name"), **login} for login in map(asdict, found)]))
        return
    for login in found:
        limit = "any number of" if login.connection_limit is None else f"{login.connection_limit}"
        seen = ", ".join(login.tenants) if login.is_reader and login.tenants else "nothing"
        click.echo(f"{login.name}: {seen}; {limit} sessions, statements of {login.statement_timeout or 'any length'}")
    if not found:
        click.echo("no logins of BI tools")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dbt(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run dbt over the warehouse: dbt build, dbt show --select fct_orders, dbt docs generate, ..."""
    from analytics_pipelines.settings import load_settings
    from analytics_pipelines.warehouse import dbt as room

    context.exit(room.run(load_settings(), arguments))


COMMANDS = [access, dbt]
