"""The commands of the log's audit: quarantine, redrive, verify, and the partitions of the log.

`PARTITIONS_GROUP` and `TRACE` stand under `pipelines events`, which is put together in `commands.py`.
"""

from __future__ import annotations

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from analytics_pipelines.settings import Settings

KINDS = click.Choice(["malformed", "unknown_type", "invalid", "conflict", "erased"])
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_TO = click.option("--archive", type=click.Path(file_okay=False, path_type=Path), help="The folder of exports.")


@click.group()
def quarantine() -> None:
    """See what the log refused, and why."""


@quarantine.command("list")
@click.option("--tenant", help="Only what one tenant sent.")
@click.option("--kind", type=KINDS, help="Only one kind of refusal.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="How many entries.")
@_AS_JSON
def list_quarantine(tenant: str | None, kind: str | None, limit: int, *, as_json: bool) -> None:
    """Count refused events by kind and reason, and list the newest first."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log.quarantine import listing
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        require_known_tenant(connection, tenant)
        found = listing(connection, tenant_id=tenant, kind=kind, limit=limit)
    if as_json:
        click.echo(json.dumps(found, default=datetime.isoformat))
        return
    if not found["counts"]:
        click.echo(f"no refused event{f' of kind {kind}' if kind else ''}{f' of {tenant}' if tenant else ''}")
        return
    click.echo(f"{'events':>9}  {'waiting':>9}  {'kind':<12}  reason")
    for group in found["counts"]:
        click.echo(f"{group['events']:>9,}  {group['waiting']:>9,}  {group['kind']:<12}  {group['reason']}")
    click.echo(f"\n{'id':>9}  tenant  kind  origin  reason, the newest first")
    for one in found["entries"]:
        outcome = {None: "", "dismissed": "  [dismissed]"}.get(one["outcome"], f"  [redriven: {one['outcome']}]")
        click.echo(
            f"{one['quarantine_id']:>9}  {one['tenant_id']}  {one['kind']}  {one['origin']}  {one['reason']}{outcome}"
        )


@quarantine.command()
@click.argument("quarantine_id", metavar="ID", type=int)
@click.option("--tenant", required=True, help="Whose event it was to be.")
@_AS_JSON
def show(quarantine_id: int, tenant: str, *, as_json: bool) -> None:
    """Show one refused event: why, from where, when, and its bytes, as base64 where they are no text."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log.quarantine import entry
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        found = entry(connection, tenant, quarantine_id)
    content: bytes = found.pop("bytes")
    try:
        found["text"] = content.decode()
    except UnicodeDecodeError:
        found["base64"] = base64.b64encode(content).decode()
    if as_json:
        click.echo(json.dumps(found, default=datetime.isoformat))
        return
    for name, value in found.items():
        click.echo(f"{name}: {'-' if value is None else value}")


@quarantine.command()
@click.option("--tenant", required=True, help="Whose events they were to be.")
@click.option("--kind", type=KINDS, help="Only one kind of refusal.")
@click.option("--origin", help="Only what was read there: payments.csv, or payments.csv:3.")
@click.option("--id", "ids", multiple=True, type=int, help="Only this entry; may be given again.")
@_AS_JSON
def dismiss(tenant: str, kind: str | None, origin: str | None, ids: tuple[int, ...], *, as_json: bool) -> None:
    """Write down that refused events will not be put through: they stay, and wait no longer.

    Such as the rows of a file that was ingested again with a corrected mapping. Each can still be redriven by --id.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import quarantine as refused
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    if not (kind or origin or ids):
        raise click.UsageError("say which: --kind, --origin or --id")
    with open_pool(load_settings()) as pool:
        with pool.connection() as connection:
            require_known_tenant(connection, tenant)
        dismissed = refused.dismiss(pool, tenant, kind=kind, origin=origin, ids=ids)
    click.echo(json.dumps({"dismissed": dismissed}) if as_json else f"{dismissed:,} dismissed")


@click.command()
@click.option("--tenant", help="Only what one tenant sent; needed with --id.")
@click.option("--kind", type=KINDS, help="Only one kind of refusal.")
@click.option("--id", "ids", multiple=True, type=int, help="Only this entry; may be given again.")
@_AS_JSON
def redrive(tenant: str | None, kind: str | None, ids: tuple[int, ...], *, as_json: bool) -> None:
    """Put refused events through again, after a fix, in the order in which they came.

    Each ends as accepted, duplicate or quarantined again, with the new reason. A conflict is put through only by --id.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import quarantine as refused
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    if ids and tenant is None:
        raise click.UsageError("--id needs --tenant: entries are numbered, and belong to a tenant")
    with open_pool(load_settings()) as pool:
        with pool.connection() as connection:
            require_known_tenant(connection, tenant)
        result = refused.redrive(pool, tenant_id=tenant, kind=kind, ids=ids)
    counts = {"accepted": result.accepted, "duplicates": result.duplicates, "quarantined": result.quarantined}
    text = json.dumps({"redriven": result.sent, **counts})
    click.echo(text if as_json else ", ".join(f"{count:,} {name}" for name, count in counts.items()))


@click.command()
@click.option("--tenant", help="Look at one tenant's identities, streams and quarantine; digests are of all together.")
@_TO
@_AS_JSON
def verify(tenant: str | None, archive: Path | None, *, as_json: bool) -> None:
    """Prove that no event was changed, removed or inserted since its range was closed."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import audit
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    findings: list[audit.Finding] = []
    with open_pool(settings) as pool, Progress(console=Console(stderr=True), disable=as_json, transient=True) as bars:
        with pool.connection() as connection:
            require_known_tenant(connection, tenant)
        tasks: dict[str, TaskID] = {}

        def progress(check: str, done: int, total: int) -> None:
            if check not in tasks:
                tasks[check] = bars.add_task(check, total=total)
            bars.update(tasks[check], completed=done)

        for finding in audit.verify(pool, settings.home, _archive(settings, archive), tenant_id=tenant, show=progress):
            findings.append(finding)
            if not as_json:
                click.echo(f"{'ok' if finding.passed else 'FAILED':<7} {finding.check}: {finding.detail}")
    if as_json:
        rows = [{"check": one.check, "passed": one.passed, "detail": one.detail} for one in findings]
        click.echo(json.dumps(rows, indent=2))
    if not all(finding.passed for finding in findings):
        raise click.exceptions.Exit(1)


@click.group("partitions")
def PARTITIONS_GROUP() -> None:  # noqa: N802 - named for what it is: an object that another module mounts
    """See the partitions of the log, export closed ones, take them out."""


@PARTITIONS_GROUP.command("list")
@_AS_JSON
def list_partitions(*, as_json: bool) -> None:
    """List the partitions, the oldest first."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log.partitions import listing
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        rows: list[dict[str, Any]] = [
            {
                "partition": one.table_name,
                "first_position": one.first_position,
                "end_position": one.end_position,
                "status": "detached" if one.detached_at else "closed" if one.is_closed else "open",
                "detached_at": one.detached_at,
                "export_digest": one.export_digest,
            }
            for one in listing(connection)
        ]
    if as_json:
        click.echo(json.dumps(rows, default=datetime.isoformat))
        return
    for row in rows:
        end = row["end_position"] - 1
        click.echo(f"{row['partition']}  positions {row['first_position']:,} to {end:,}  {row['status']}")


@PARTITIONS_GROUP.command()
@click.argument("name")
@_TO
@_AS_JSON
def export(name: str, archive: Path | None, *, as_json: bool) -> None:
    """Write the closed partition NAME to a Parquet file and prove that it holds what the log does."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import partitions
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    with open_pool(settings) as pool:
        path, found = partitions.export(pool, name, _archive(settings, archive))
    told = {"file": str(path), "events": found.events, "sha256": found.file_digest}
    click.echo(json.dumps(told) if as_json else f"{path}: {found.events:,} events, SHA-256 {found.file_digest}")


@PARTITIONS_GROUP.command()
@click.argument("name")
@_TO
@_AS_JSON
def detach(name: str, archive: Path | None, *, as_json: bool) -> None:
    """Take the oldest partition, NAME, out of the log, after proving its export.

    From then on nothing reads its events: what is rebuilt from the log begins after them.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import partitions
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    with open_pool(settings) as pool:
        events = partitions.detach(pool, name, _archive(settings, archive))
    text = f"{events:,} events left the log; an administrator may now drop the table event_log.{name}"
    click.echo(json.dumps({"partition": name, "events": events}) if as_json else text)


@click.command("trace")
@click.argument("correlation_id")
@click.option("--tenant", required=True, help="Whose events they are.")
@_AS_JSON
def TRACE(correlation_id: str, tenant: str, *, as_json: bool) -> None:  # noqa: N802 - as PARTITIONS_GROUP
    """Print what CORRELATION_ID ties together: events and saga steps, each cause before its effects."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import trace
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        require_known_tenant(connection, tenant)
        rows = trace.trace(connection, tenant, correlation_id)
    if as_json:
        click.echo(json.dumps(rows, default=datetime.isoformat))
        return
    for row in rows:
        name = row.get("event_type") or f"{row['saga']}.{row['step']} ({row['kind']}, {row['status']})"
        place = f"{row['stream_id']} at {row['position']}" if row["what"] == "event" else row["saga_id"]
        click.echo(f"{'  ' * row['depth']}{row['what']} {name}  {place}")
    if not rows:
        click.echo(f"{tenant} has no event and no saga step of the correlation {correlation_id}", err=True)
        return
    click.echo(f"Dagster's runs: filter by the tag {trace.RUN_TAG}={correlation_id}", err=True)


def _archive(settings: Settings, folder: Path | None) -> Path:
    return settings.home / "archive" if folder is None else folder


COMMANDS = [quarantine, redrive, verify]
