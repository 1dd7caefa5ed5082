"""Branches: the read models over an edited history, beside the true one.

Defines `create`, `diff`, `listing` and `drop`. A branch is the schema `branch_<name>`: a table for each model with all
its rows, pinned to the position that the model stood at when the branch was made, and what differs. The log is not
touched. Folds are per key, so only the keys of edited events, before and after, are folded again; the rest is copied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import errors
from psycopg import sql as pg
from psycopg.types.json import Jsonb

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.cloud_events import exact_json
from analytics_pipelines.read_models import edits as editing
from analytics_pipelines.read_models import sql
from analytics_pipelines.read_models.columns import Maximum, Minimum, literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import Connection

    from analytics_pipelines.event_log.catalog import Catalog
    from analytics_pipelines.read_models.declaration import ReadModel

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_NUMBERS = {"smallint", "integer", "bigint", "numeric", "double precision"}

# Names that no model has: theirs begin with a letter.
_TABLES = """
    create table {schema}._edits (
        line bigint primary key, edit text not null, position bigint, tenant_id text not null);
    comment on table {schema}._edits is 'One row per edit: its line, and the event of the log that it drops or changes';
    create table {schema}._edited (
        position bigint primary key, tenant_id text not null, source text not null, event_id text not null,
        stream_id text not null, event_type text not null, sequence bigint not null, occurred_at timestamptz not null,
        recorded_at timestamptz not null, data jsonb not null);
    comment on table {schema}._edited is 'One row per event that is not in the log as it stands here: changed or
inserted. Its position is the line of the edit, below zero; personal fields are left out';
    create table {schema}._differences (
        model text not null, tenant_id text not null, key text[] not null, lines bigint[] not null, before json,
        after json, primary key (model, tenant_id, key));
    comment on table {schema}._differences is 'One row per model and row that differs from the true history, with the
lines of the edits whose events belong to it';
    create table {schema}._totals (
        model text not null, column_name text not null, before numeric not null, after numeric not null,
        primary key (model, column_name));
    comment on table {schema}._totals is 'One row per model and column of numbers folded from events: its sum over all
rows, in the true history and in the branch'
"""


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch, as it is listed.

    Attributes:
        name: its name; its tables are in the schema `branch_<name>`.
        positions: by model, the position of the log that it was made at.
        edits: how many edits it was made with.
        differing: how many rows differ from the true history, of all models.
        created_at: when it was made (UTC).
    """

    name: str
    positions: dict[str, int]
    edits: int
    differing: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """A row that the edits changed.

    Attributes:
        tenant_id: whose.
        key: the values of its key columns.
        lines: the lines of the edits whose events belong to it.
        before: the row in the true history; None if it is not there.
        after: the row in the branch; None if it is not there.
    """

    tenant_id: str
    key: list[str]
    lines: list[int]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """What the edits changed in one model.

    Attributes:
        differing: how many rows differ.
        rows: some of them, in the order of their keys.
        totals: the columns whose sums over all rows differ, each with the true sum and that of the branch.
    """

    differing: int
    rows: list[DifferingRow]
    totals: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class BranchDiff:
    """What a branch's edits changed.

    Attributes:
        branch: the branch.
        models: by model, those of which rows differ.
        without_effect: the lines of edits whose events belong to no row that differs.
    """

    branch: Branch
    models: dict[str, ModelDiff]
    without_effect: list[int]


def create(  # noqa: PLR0913 - what a branch is made of, by keyword
    connection: Connection,
    name: str,
    edits: Sequence[editing.Edit],
    *,
    models: Mapping[str, ReadModel],
    catalog: Catalog,
    file: str = "edits",
) -> Branch:
    """Make a branch, in the transaction that this begins on the session, and return it.

    Args:
        connection: a session that is in no transaction.
        name: the branch's name.
        edits: how its history differs from the true one.
        models: the models, by name; those that were not built yet as they are declared now are left out.
        catalog: what events may be.
        file: what to call the edits in an error.

    Raises:
        PipelinesError: the name cannot be one or is taken, an edit cannot be done, or no model was built yet.
    """
    if not _NAME.fullmatch(name):
        raise PipelinesError(f"branch {name[:100]!r}: give 1 to 40 small letters, digits or '_', first a letter")
    # One snapshot: the rows that are copied, and the positions they stand at.
    connection.execute("set transaction isolation level repeatable read")
    positions = _positions(connection, models)
    resolved = editing.resolve(connection, list(edits), file, catalog, min(positions.values()))
    try:
        connection.execute(
            "insert into progress.branches (name, positions, edits, differing) values (%s, %s, %s, 0)",
            [name, Jsonb(positions), len(resolved)],
        )
        connection.execute("select access.create_branch_schema(%s)", [name])
    except (errors.UniqueViolation, errors.DuplicateSchema):
        raise PipelinesError(
            f"there is a branch {name} already; choose another name, or `pipelines branch drop {name}`"
        ) from None
    _write_edits(connection, name, resolved)
    removed = [one.position for one in resolved if one.position is not None]
    for model, position in positions.items():
        _build(connection, name, models[model], {"up_to": position, "removed": removed})
    connection.execute(
        _sql(f"update progress.branches set differing = (select count(*) from {_schema(name)}._differences)"
             " where name = %s"),
        [name],
    )  # fmt: skip
    return _find(connection, name)


def listing(connection: Connection) -> list[Branch]:
    """Return all branches by name."""
    rows = connection.execute(
        "select name, positions, edits, differing, created_at from progress.branches order by name"
    ).fetchall()
    return [Branch(*row) for row in rows]


def drop(connection: Connection, name: str) -> None:
    """Remove a branch with its tables.

    Raises:
        PipelinesError: there is none of this name.
    """
    branch = _find(connection, name)
    connection.execute(pg.SQL("drop schema {} cascade").format(pg.Identifier(f"branch_{branch.name}")))
    connection.execute("delete from progress.branches where name = %s", [name])


def diff(connection: Connection, name: str, *, limit: int = 20) -> BranchDiff:
    """Return what the branch's edits changed.

    Args:
        connection: a session.
        name: the branch.
        limit: how many rows of each model to return at most, of all that are counted.

    Raises:
        PipelinesError: there is no branch of this name.
    """
    branch, schema = _find(connection, name), _schema(name)
    models: dict[str, ModelDiff] = {}
    for model in sorted(branch.positions):
        rows = connection.execute(
            _sql(f"select tenant_id, key, lines, before::text, after::text, count(*) over () from {schema}._differences"
                 " where model = %s order by tenant_id, key limit %s"),
            [model, limit],
        ).fetchall()  # fmt: skip
        totals = connection.execute(
            _sql(f"select column_name, before::text, after::text from {schema}._totals"
                 " where model = %s and before <> after order by column_name"),
            [model],
        ).fetchall()  # fmt: skip
        if rows:
            found = [DifferingRow(row[0], row[1], row[2], _row(row[3]), _row(row[4])) for row in rows]
            sums = {column: (_number(before), _number(after)) for column, before, after in totals}
            models[model] = ModelDiff(rows[0][5], found, sums)
    idle = connection.execute(
        _sql(f"select line from {schema}._edits except select unnest(lines) from {schema}._differences order by 1")
    ).fetchall()
    return BranchDiff(branch, models, [line for (line,) in idle])


def _positions(connection: Connection, models: Mapping[str, ReadModel]) -> dict[str, int]:
    readers = {sql.table(model): model.name for model in models.values()}
    rows = connection.execute(
        "select reader, position from progress.checkpoints where tenant_id = '*' and reader = any(%s)", [list(readers)]
    ).fetchall()
    positions = {readers[reader]: position for reader, position in rows}
    if not positions:
        raise PipelinesError("no read model was built yet as it is declared now; run `pipelines build`")
    return positions


def _write_edits(connection: Connection, name: str, resolved: Sequence[editing.Resolved]) -> None:
    schema = _schema(name)
    connection.execute(_sql(_TABLES.format(schema=schema)))
    with connection.cursor() as cursor:
        cursor.executemany(
            _sql(f"insert into {schema}._edits values (%s, %s, %s, %s)"),
            [[one.edit.line, one.edit.text, one.position, one.tenant_id] for one in resolved],
        )
        cursor.executemany(
            _sql(f"insert into {schema}._edited values (%s, %s, %s, %s, %s, %s, %s, %s, now(), %s)"),
            [
                [
                    -one.edit.line, one.tenant_id, event.source, event.event_id, event.stream_id, event.event_type,
                    event.sequence, event.occurred_at, event.data,
                ]
                for one in resolved
                if (event := one.event) is not None
            ],
        )  # fmt: skip


def _build(connection: Connection, name: str, model: ReadModel, arguments: dict[str, Any]) -> None:
    """Make the branch's table of one model: rows of touched keys folded over the edited log, all others copied."""
    schema, keys, live = _schema(name), sql.keys(model), sql.table(model)
    present = " and ".join(f"{key} is not null" for key in model.key)
    touched = f"{schema}._touched"
    # A key's streams, too, where its events may be found after the edits as before.
    connection.execute(
        _sql(f"""create table {touched} as
        select {keys}, {sql.streams_with(model, "found.streams")} as streams, lines
        from (
            select {keys}, array_agg(distinct stream_id) as streams, array_agg(distinct line order by line) as lines
            from (
                select {keys}, stream_id, -position as line
                from ({sql.events(model, "true", f"{schema}._edited")}) as edited where {present}
                union all
                select {keys}, stream_id, edits.line
                from ({sql.events(model, "position = any(%(removed)s)")}) as events
                join (select line, position from {schema}._edits) as edits using (position) where {present}
            ) as both_of_them
            group by {keys}
        ) as found
        left join {live} as live using ({keys})"""),
        arguments,
    )
    connection.execute(_sql(f"analyze {touched}"))
    names = ", ".join([keys, *(part.name for part in model.parts)])
    log = f"""(
        select {sql.ENVELOPE} from {sql.LOG} where position <> all(%(removed)s)
        union all
        select {sql.ENVELOPE} from {schema}._edited
    ) as log"""
    state = f"""(
        select {names} from {live} as live
        where not exists (select from {touched} as touched where {_same(model, "live", "touched")})
        union all
        select {names} from ({sql.refolded(model, touched, log=log)}) as refolded
    ) as state"""
    table = f"{schema}.{model.name}"
    connection.execute(_sql(f"create table {table} as {sql.view(model, state)}"), arguments)
    connection.execute(_sql(f"alter table {table} add primary key ({keys})"))
    comment = f"{model.grain} Over the edited history of the branch {name}, up to position {arguments['up_to']}."
    connection.execute(_sql(f"comment on table {table} is {literal(comment)}"))
    before = sql.view(model, f"(select live.* from {live} as live join {touched} using ({keys})) as state")
    connection.execute(
        _sql(f"""insert into {schema}._differences
        select {literal(model.name)}, tenant_id, array[{", ".join(model.key)}], touched.lines,
            row_to_json(before), row_to_json(after)
        from {touched} as touched
        left join ({before}) as before using ({keys}) left join {table} as after using ({keys})
        where to_jsonb(before) is distinct from to_jsonb(after)"""),
        {},
    )
    connection.execute(_sql(f"drop table {touched}"))
    _write_totals(connection, schema, model)


def _write_totals(connection: Connection, schema: str, model: ReadModel) -> None:
    # The sum of largest or smallest values says nothing.
    summed = (column for column in model.folded if not isinstance(column, (Minimum, Maximum)))
    names = [column.name for column in summed if column.type in _NUMBERS]
    if not names:
        return
    sums = ", ".join(f"coalesce(sum({name}), 0)::numeric as {name}" for name in names)
    more = ", ".join(
        f"sum(coalesce((after ->> '{name}')::numeric, 0) - coalesce((before ->> '{name}')::numeric, 0)) as {name}"
        for name in names
    )
    pairs = ", ".join(f"('{name}', sums.{name}, more.{name})" for name in names)
    connection.execute(
        _sql(f"""insert into {schema}._totals
        select {literal(model.name)}, column_name, total - coalesce(added, 0), total
        from (select {sums} from {schema}.{model.name}) as sums
        cross join (select {more} from {schema}._differences where model = {literal(model.name)}) as more
        cross join lateral (values {pairs}) as columns (column_name, total, added)""")
    )


def _same(model: ReadModel, one: str, other: str) -> str:
    return " and ".join(f"{one}.{name} = {other}.{name}" for name in ["tenant_id", *model.key])


def _find(connection: Connection, name: str) -> Branch:
    branches = {branch.name: branch for branch in listing(connection)}
    if name not in branches:
        known = f"there are {', '.join(branches)}" if branches else "make one with `pipelines branch create`"
        raise PipelinesError(f"there is no branch {name[:100]!r}; {known}")
    return branches[name]


def _schema(name: str) -> str:
    return f"branch_{name}"


def _row(text: str | None) -> dict[str, Any] | None:
    return None if text is None else cast("dict[str, Any]", exact_json(text.encode()))


def _number(text: str) -> Any:  # noqa: ANN401 - an int, or a decimal of any number of digits
    return exact_json(text.encode())


def _sql(text: str) -> Any:  # noqa: ANN401
    """Vouch for generated SQL: it is made from declarations, which are code, and from a branch's validated name."""
    return pg.SQL(cast("LiteralString", text))
