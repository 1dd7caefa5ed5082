"""`pipelines sagas`: see what sagas do, and run them by hand.

Defines the room's part of the command line. Without it the sensor `campaign_launch_sensor` does the same.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import click


@click.group()
def sagas() -> None:
    """See sagas and run them."""


@sagas.command("list")
@click.option("--tenant", help="Only those of one tenant.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of objects.")
def list_sagas(tenant: str | None, *, as_json: bool) -> None:
    """List sagas, the newest request first."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log.reading import require_known_tenant
    from analytics_pipelines.sagas.executions import listing
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        require_known_tenant(connection, tenant)
        rows = listing(connection, tenant)
    if as_json:
        click.echo(json.dumps(rows, default=datetime.isoformat))
        return
    if not rows:
        click.echo(f"no saga was requested{f' of {tenant}' if tenant else ''}")
    for row in rows:
        why = f"  {row['reason']}" if row["reason"] else ""
        click.echo(f"{row['saga_id']}  {row['tenant_id']}  {row['saga']}  {row['status']}{why}")


@sagas.command()
@click.argument("saga_id", required=False)
@click.option("--tenant", help="Whose saga; needed with SAGA_ID.")
def run(saga_id: str | None, tenant: str | None) -> None:
    """Run SAGA_ID, or enrol what was requested and run every saga that is due."""
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.sagas.catalog import SAGAS
    from analytics_pipelines.sagas.enrolment import enrol
    from analytics_pipelines.sagas.runner import Runner, run_due
    from analytics_pipelines.settings import load_settings

    if (saga_id is None) != (tenant is None):
        raise click.UsageError("SAGA_ID and --tenant go together")
    with open_pool(load_settings()) as pool:
        if saga_id is not None and tenant is not None:
            click.echo(Runner(pool).run(tenant, saga_id))
            return
        enrolled = sum(enrol(pool, saga) for saga in SAGAS.values())
        ended = Counter(status for saga in SAGAS.values() for status in run_due(pool, saga))
    click.echo(", ".join([f"enrolled {enrolled}", *(f"{status} {count}" for status, count in sorted(ended.items()))]))


COMMANDS = [sagas]
