"""`pipelines as-of`: what a read model said at a moment, and what changed between two."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from analytics_pipelines.read_models.as_of import Axis, Change, Changes
    from analytics_pipelines.read_models.declaration import ReadModel


class _Moment(click.ParamType[datetime]):
    """A moment in ISO 8601; UTC unless it says otherwise."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no ISO 8601 time such as 2017-06-01T00:00:00Z", param, ctx)


@click.command("as-of")
@click.argument("model")
@click.argument("key", nargs=-1)
@click.option("--tenant", required=True, help="Whose rows.")
@click.option(
    "--at", required=True, type=_Moment(), help="The moment, inclusive: ISO 8601, UTC unless it says otherwise."
)
@click.option("--to", type=_Moment(), help="Show what changed after --at and up to this moment, inclusive.")
@click.option(
    "--by",
    type=click.Choice(["event-time", "log-time"]),
    default="event-time",
    show_default=True,
    help="Whether moments are when events occurred, or when they were recorded.",
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="With --to: how many rows to show."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the row or null; with --to one object.")
def as_of(  # noqa: PLR0913 - the options
    model: str,
    key: tuple[str, ...],
    *,
    tenant: str,
    at: datetime,
    to: datetime | None,
    by: Axis,
    limit: int,
    as_json: bool,
) -> None:
    """Show the row of KEY in the read model MODEL as it was at a moment.

    A key of several columns is given as several arguments, in the order of the columns. With --to, show what changed
    between the two moments, in one row or, without KEY, in all of them.

    Answers tell of the events up to the position that the model stands at.
    """
    if not key and to is None:
        raise click.UsageError(
            "give KEY, or --to for what changed in all rows; a whole model is selected in SQL from "
            f"read_models.{model}_as_of('{_iso(at)}')"
        )

    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log.validation import json_text
    from analytics_pipelines.read_models import as_of as asking
    from analytics_pipelines.settings import load_settings

    declared = _declared(model)
    with open_pool(load_settings()) as pool, pool.connection() as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        if to is not None:
            changes = asking.changes(connection, declared, tenant, at, to, key=key, by=by, limit=limit)
            facts = {"model": model, "tenant": tenant, "at": _iso(at), "to": _iso(to), "by": by}
            click.echo(json_text(facts | _as_object(changes)) if as_json else _text(changes, facts))
            return
        answer = asking.as_of(connection, declared, tenant, key, at, by=by)
    if as_json:
        click.echo("null" if answer.row is None else json_text(answer.row))
        return
    click.echo(
        f"{model} {tenant}/{'/'.join(key)} at {_iso(at)} ({by.replace('-', ' ')}), of events up to position "
        f"{answer.position}:"
    )
    if answer.row is None:
        click.echo("  no event of it by then")
        return
    columns = {name: value for name, value in answer.row.items() if name not in {"tenant_id", *declared.key}}
    width = max(map(len, columns))
    for name, value in columns.items():
        click.echo(f"  {name:<{width}}  {shown(value)}")


def _declared(model: str) -> ReadModel:
    from analytics_pipelines.errors import PipelinesError
    from analytics_pipelines.read_models.models import READ_MODELS

    if model not in READ_MODELS:
        raise PipelinesError(f"no read model {model[:100]!r}; there are {', '.join(READ_MODELS)}")
    return READ_MODELS[model]


def _as_object(changes: Changes) -> dict[str, Any]:
    rows = [
        {"key": row.key, "change": "appeared" if row.appeared else "changed", "columns": row.columns}
        for row in changes.rows
    ]
    return {"position": changes.position, "appeared": changes.appeared, "changed": changes.changed, "rows": rows}


def _text(changes: Changes, facts: dict[str, str]) -> str:
    head = (
        f"{facts['model']} of {facts['tenant']} after {facts['at']} and up to {facts['to']} "
        f"({facts['by'].replace('-', ' ')}), of events up to position {changes.position}: {changes.appeared:,} "
        f"appeared, {changes.changed:,} changed"
    )
    lines = [f"  {'/'.join(row.key.values())} {_columns(row)}" for row in changes.rows]
    more = changes.appeared + changes.changed - len(changes.rows)
    return "\n".join([head, *lines, *([f"  and {more:,} more; --limit shows more"] if more else [])])


def _columns(row: Change) -> str:
    if row.appeared:
        return "appeared: " + ", ".join(f"{name} {shown(after)}" for name, (_, after) in row.columns.items())
    return "changed: " + ", ".join(
        f"{name} {shown(before)} -> {shown(after)}" for name, (before, after) in row.columns.items()
    )


def shown(value: object) -> str:
    """Write a value of a row for people."""
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


COMMANDS = [as_of]
