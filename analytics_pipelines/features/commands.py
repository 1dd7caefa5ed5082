"""`pipelines features`: look features up.

Defines the room's part of the command line. What it prints comes from the online store, as an application would get it.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from analytics_pipelines.features import FeatureRow


@click.group()
def features() -> None:
    """Look features up."""


@features.command()
@click.argument("group")
@click.argument("entity", nargs=-1, required=True)
@click.option("--tenant", required=True, help="Whose entities.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the features by entity.")
def get(group: str, entity: tuple[str, ...], tenant: str, *, as_json: bool) -> None:
    """Print the online features of each ENTITY in GROUP; null for one that is not published."""
    from analytics_pipelines.connections import open_pool, open_redis
    from analytics_pipelines.features import FeatureStore
    from analytics_pipelines.settings import load_settings

    settings = load_settings()
    with open_pool(settings) as pool, open_redis(settings) as redis:
        rows = FeatureStore(pool, redis).online(tenant, group, entity)
    shown = {entity_id: _shown(rows.get(entity_id)) for entity_id in entity}
    if as_json:
        click.echo(json.dumps(shown))
        return
    for entity_id, values in shown.items():
        text = ", ".join(f"{name} {json.dumps(value)}" for name, value in values.items()) if values else "not published"
        click.echo(f"{entity_id}: {text}")


def _shown(row: FeatureRow | None) -> dict[str, str | int | float | None] | None:
    if row is None:
        return None
    # A float prints every digit of a decimal of up to 15 digits.
    values = {name: float(value) if isinstance(value, Decimal) else value for name, value in row.values.items()}
    return {"as_of": row.as_of.isoformat(), "position": row.position, **values}


COMMANDS = [features]
