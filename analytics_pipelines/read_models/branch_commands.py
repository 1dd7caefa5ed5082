"""`pipelines branch`: the read models over an edited history, and what differs there."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Generator

    from psycopg import Connection

    from analytics_pipelines.read_models.branches import Branch, BranchDiff, DifferingRow, ModelDiff

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def branch() -> None:
    """Ask what the read models would be over another history."""


@branch.command()
@click.argument("name")
@click.option("--edit", "file", required=True, type=click.File("rb"), help="The edits, one JSON object per line.")
@click.option("--tenant", help="Whose events are meant by edits that do not say.")
@_AS_JSON
def create(name: str, file: IO[bytes], tenant: str | None, *, as_json: bool) -> None:
    """Build the read models over the log with some events dropped, changed or inserted.

    A line of the edits is one of

    \b
      {"drop": 17}
      {"change": 17, "data": {"amount": 12}, "time": "2017-06-01T12:00:00Z"}
      {"insert": {"id": "1", "source": "what-if", "type": "order_paid", ...}}

    where 17 is the position of an event (`pipelines events tail` shows it); {"tenantid": ..., "source": ..., "id": ...}
    names it, too. A change sets the fields of data that it gives. An insert is a CloudEvent, valid as any. The log
    itself stays as it is. The tables are in the schema branch_NAME.
    """  # noqa: D301 - click's mark of a paragraph whose lines stay as they are
    from analytics_pipelines.event_log.catalog import configured_catalog
    from analytics_pipelines.event_log.validation import require_tenant
    from analytics_pipelines.read_models import branches
    from analytics_pipelines.read_models.edits import read_edits
    from analytics_pipelines.read_models.models import READ_MODELS

    if tenant is not None:
        require_tenant(tenant)
    edits = read_edits(file, file.name, tenant)
    with _session() as connection:
        made = branches.create(
            connection, name, edits, models=READ_MODELS, catalog=configured_catalog(), file=file.name
        )
    for left_out in sorted(READ_MODELS.keys() - made.positions.keys()):
        click.echo(f"left out: {left_out}, not built yet as it is declared now; run `pipelines build`", err=True)
    click.echo(json.dumps(_as_object(made)) if as_json else f"{_line(made)}; see `pipelines branch diff {name}`")


@branch.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many rows of each model.")
@_AS_JSON
def diff(name: str, limit: int, *, as_json: bool) -> None:
    """Show which rows and totals of a branch differ from the true history, and by which edits.

    Edits are named by their lines. Totals are sums over all rows of columns that are folded from events.
    """
    from analytics_pipelines.event_log.validation import json_text
    from analytics_pipelines.read_models import branches

    with _session() as connection:
        found = branches.diff(connection, name, limit=limit)
    click.echo(json_text(_diff_as_object(found)) if as_json else _diff_text(found))


@branch.command("list")
@_AS_JSON
def list_branches(*, as_json: bool) -> None:
    """List the branches."""
    from analytics_pipelines.read_models import branches

    with _session() as connection:
        found = branches.listing(connection)
    if as_json:
        click.echo(json.dumps([_as_object(one) for one in found]))
        return
    click.echo("\n".join(f"{_line(one)}, made {one.created_at:%Y-%m-%d %H:%M} UTC" for one in found) or "no branches")


@branch.command()
@click.argument("name")
def drop(name: str) -> None:
    """Remove a branch and its tables."""
    from analytics_pipelines.read_models import branches

    with _session() as connection:
        branches.drop(connection, name)
    click.echo(f"branch {name} is gone")


@contextmanager
def _session() -> Generator[Connection]:
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.settings import load_settings

    with open_pool(load_settings()) as pool, pool.connection() as connection:
        yield connection


def _as_object(one: Branch) -> dict[str, Any]:
    return {
        "branch": one.name,
        "schema": f"branch_{one.name}",
        "edits": one.edits,
        "differing": one.differing,
        "positions": one.positions,
        "created_at": one.created_at.isoformat(),
    }


def _line(one: Branch) -> str:
    first, last = min(one.positions.values()), max(one.positions.values())
    at = f"position {first}" if first == last else f"positions {first} to {last}"
    return f"{one.name}: the log up to {at} with edits: {one.edits:,}; rows that differ: {one.differing:,}"


def _diff_as_object(found: BranchDiff) -> dict[str, Any]:
    models = {
        name: {
            "differing": model.differing,
            "totals": model.totals,
            "rows": [
                {
                    "tenant_id": row.tenant_id,
                    "key": row.key,
                    "edits": row.lines,
                    "before": row.before,
                    "after": row.after,
                }
                for row in model.rows
            ],
        }
        for name, model in found.models.items()
    }
    return {**_as_object(found.branch), "models": models, "edits_without_effect": found.without_effect}


def _diff_text(found: BranchDiff) -> str:
    lines = [_line(found.branch)]
    for name, model in found.models.items():
        lines += ["", f"{name}, rows that differ: {model.differing:,}", *_of_model(model)]
    if found.without_effect:
        lines += ["", f"without effect: {_edits(found.without_effect)}"]
    return "\n".join(lines)


def _of_model(model: ModelDiff) -> list[str]:
    from analytics_pipelines.read_models.as_of_commands import shown

    lines = [f"  {row.tenant_id}/{'/'.join(row.key)} ({_edits(row.lines)}) {_row(row)}" for row in model.rows]
    if model.differing > len(model.rows):
        lines.append(f"  and {model.differing - len(model.rows):,} more; --limit shows more")
    return [
        *lines,
        *(f"  total {name}: {shown(before)} -> {shown(after)}" for name, (before, after) in model.totals.items()),
    ]


def _row(row: DifferingRow) -> str:
    from analytics_pipelines.read_models.as_of_commands import shown

    if row.after is None:
        return "is not there"
    before = row.before or dict.fromkeys(row.after)
    word = "is new" if row.before is None else "differs"
    differing = [name for name, value in row.after.items() if before[name] != value]
    differing = [name for name in differing if name != "tenant_id"]
    columns = (f"{name} {shown(before[name])} -> {shown(row.after[name])}" for name in differing)
    return f"{word}: {', '.join(columns)}"


def _edits(lines: list[int]) -> str:
    return f"edit{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"


COMMANDS = [branch]
