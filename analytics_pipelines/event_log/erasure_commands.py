"""The commands about personal data: erase, keys rotate."""

from __future__ import annotations

import json
from typing import Any

import click


@click.command()
@click.option("--tenant", help="Whose subject it is.")
@click.option("--subject", help="Who is to be erased, such as lead-42.")
@click.option("--repeat", is_flag=True, help="Erase again whom the database forgot to be erased, as after a restore.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificates as JSON.")
def erase(tenant: str | None, subject: str | None, *, repeat: bool, as_json: bool) -> None:
    """Erase a person: destroy the key of their personal data and every readable copy. It cannot be undone.

    Prints the certificate of what was touched, which is also kept in vault.erasures.
    """
    if repeat == bool(tenant or subject) or (not repeat and not (tenant and subject)):
        raise click.UsageError("give --tenant and --subject, or --repeat alone")

    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import erasure
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    with open_pool(settings) as pool:
        if tenant and subject:
            with pool.connection() as connection:
                require_known_tenant(connection, tenant)
            certificate = erasure.erase(pool, settings, tenant, subject)
            click.echo(json.dumps(certificate, indent=2) if as_json else _text(certificate))
            return
        certificates = erasure.repeat(pool, settings)
    if as_json:
        click.echo(json.dumps(certificates, indent=2))
    else:
        click.echo("\n".join([*map(_text, certificates), f"{len(certificates)} erased again"]))


@click.group()
def keys() -> None:
    """Look after the master keys, which personal data hang on."""


@keys.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rotate(*, as_json: bool) -> None:
    """Put every subject's key under the newest master key.

    A key file gets a new master key; in PIPELINES_MASTER_KEY put one first yourself: 2:<base64>,1:<base64>.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import erasure
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    with open_pool(settings) as pool:
        version, rewrapped = erasure.rotate(pool, settings)
    if as_json:
        click.echo(json.dumps({"version": version, "rewrapped": rewrapped}))
    else:
        click.echo(f"{rewrapped:,} keys are now under master key version {version}")


def _text(certificate: dict[str, Any]) -> str:
    """Write a certificate in lines that a person reads."""
    events = ", ".join(f"{count} {event_type}" for event_type, count in certificate["events"].items()) or "none"
    files = [f"  {what.replace('_', ' ')}: {path}" for what, paths in certificate["files"].items() for path in paths]
    key = "destroyed" if certificate["key_destroyed"] else "there was none, or none was left"
    found = certificate["key_destroyed"] or certificate["events"] or certificate["profile_deleted"] or files
    is_known = found or certificate["quarantine_scrubbed"]
    return "\n".join(
        [
            f"{certificate['subject']} of {certificate['tenant']} is erased ({certificate['erasure_id']})"
            + ("" if is_known else ", though nothing was known of them: check the name"),
            f"  when (UTC): {certificate['erased_at']}, by {certificate['erased_by']}",
            f"  key: {key}",
            f"  events whose personal values cannot be read any more: {events}",
            f"  refused events scrubbed: {certificate['quarantine_scrubbed']}",
            f"  profile: {'deleted' if certificate['profile_deleted'] else 'there was none'}",
            *files,
            "  what arrives about them from now on: refused",
        ]
    )


COMMANDS = [erase, keys]
