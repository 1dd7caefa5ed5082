"""Bringing read models up to a position of the log.

Defines `advance` (fold what is new into the state, rows and checkpoint in one transaction) and `differences` (replay a
part of the keys from zero and compare). What a model is stands in `models/`, the SQL in `sql.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.read_models import sql, table_function

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Advanced:
    """What an advance did to one model.

    Attributes:
        after: the position it was at.
        up_to: the position it is at.
        touched: the keys whose rows it wrote.
        seconds: how long it took; of models that advanced in one pass over the log, each its even share.
    """

    after: int
    up_to: int
    touched: int
    seconds: float


def advance(connection: Connection, models: Iterable[ReadModel], up_to: int) -> dict[str, Advanced]:
    """Fold the events up to a position into the models, in one pass over the log, and return what became of each.

    Rows and checkpoints are written in the caller's transaction. A declaration that changed gets a table of its own,
    folded from zero, and the public view is pointed at it. A model that has come further stays where it is.
    """
    # In one order, so that two workers never wait for each other in a circle.
    models = sorted(models, key=sql.table)
    positions = {model.name: progress.read_checkpoint(connection, sql.table(model)) for model in models}
    advanced = {name: Advanced(after, max(after, up_to), 0, 0) for name, after in positions.items()}
    behind = [model for model in models if positions[model.name] < up_to]
    new = [model for model in models if not _exists(connection, model)]
    for model in new:
        started = time.perf_counter()
        touched = _build(connection, model, max(positions[model.name], up_to))
        seconds = time.perf_counter() - started
        advanced[model.name] = Advanced(0, max(positions[model.name], up_to), touched, seconds)
    behind = sorted((model for model in behind if model not in new), key=lambda model: positions[model.name])
    for after, group in groupby(behind, key=lambda model: positions[model.name]):
        together = list(group)
        started = time.perf_counter()
        counts = connection.execute(_sql(sql.together(together)), {"after": after, "up_to": up_to}).fetchone()
        seconds = (time.perf_counter() - started) / len(together)
        assert counts is not None
        for model, touched in zip(together, counts, strict=True):
            advanced[model.name] = Advanced(after, up_to, touched, seconds)
    for model in models:
        if not _is_published(connection, model):
            _publish(connection, model)
        progress.write_checkpoint(connection, sql.table(model), advanced[model.name].up_to)
    return advanced


def differences(connection: Connection, model: ReadModel, *, slices: int = 1, part: int = 0) -> tuple[int, list[str]]:
    """Replay the model from zero to its checkpoint and compare it with the live rows.

    Returns how many keys were compared, and some of those that differ, as `tenant/key`.

    Args:
        connection: a session.
        model: the model.
        slices: compare every so-many-th key; 1 compares all.
        part: which of the slices.
    """
    arguments = {"after": 0, "up_to": progress.read_checkpoint(connection, sql.table(model))}
    arguments |= {"slices": slices, "slice": part}
    sliced = f"where {sql.of_slice(model)}"
    connection.execute(
        _sql(f"create temporary table replayed on commit drop as select * from ({sql.fold(model)}) as fold {sliced}"),
        arguments,
    )
    compared = connection.execute("select count(*) from replayed").fetchone()
    assert compared is not None
    both = " and ".join(f"live.{name} = replayed.{name}" for name in ["tenant_id", *model.key])
    either = " || '/' || ".join(f"coalesce(live.{name}, replayed.{name})" for name in ["tenant_id", *model.key])
    parts = ", ".join(["tenant_id", *model.key, *(part.name for part in model.parts)])
    different = f"""
        select {either}
        from (select {parts} from {sql.table(model)} {sliced}) as live
        full join (select {parts} from replayed) as replayed on {both}
        where live is distinct from replayed
        order by 1 limit {SHOWN}
    """
    rows = connection.execute(_sql(different), arguments).fetchall()
    connection.execute("drop table replayed")
    return compared[0], [row[0] for row in rows]


def _build(connection: Connection, model: ReadModel, up_to: int) -> int:
    """Fold from zero into a new table: unlike an insert, CREATE TABLE AS folds in parallel."""
    table, arguments = sql.table(model), {"after": 0, "up_to": up_to}
    query = sql.fold(model)
    if not model.is_mergeable:
        workers = connection.execute("select current_setting('max_parallel_workers_per_gather')::integer").fetchone()
        assert workers is not None
        query = sql.in_slices(model, query, max(1, workers[0]))
    if model.by_day:
        days = sql.days(model)
        connection.execute(_sql(f"drop table if exists {days}"))
        connection.execute(_sql(f"create table {days} as {sql.fold_by_day(model)}"), arguments)
        connection.execute(_sql(f"alter table {days} add primary key ({sql.keys(model)}, day)"))
        query = sql.combine(model, days)
    touched = connection.execute(_sql(f"create table {table} as {query}"), arguments).rowcount
    connection.execute(_sql(f"alter table {table} add primary key ({sql.keys(model)})"))
    connection.execute(_sql(f"analyze {table}"))  # what dbt joins in the same minute shall have a plan for its size
    return touched


def _exists(connection: Connection, model: ReadModel) -> bool:
    row = connection.execute("select to_regclass(%s) is not null", [sql.table(model)]).fetchone()
    return row is not None and row[0]


def _is_published(connection: Connection, model: ReadModel) -> bool:
    """Tell whether the public view reads this version's table and is described in today's words."""
    name = f"read_models.{model.name}"
    described = connection.execute(
        "select attname, col_description(attrelid, attnum) from pg_attribute where attrelid = to_regclass(%s)", [name]
    ).fetchall()
    facts = connection.execute(
        """
        select obj_description(to_regclass(%s)), exists (
            select from information_schema.view_table_usage
            where view_schema = 'read_models' and view_name = %s and 'read_models.' || table_name = %s)
        """,
        [name, model.name, sql.table(model)],
    ).fetchone()
    current = dict(described) == model.descriptions and facts == (model.grain, True)
    return current and table_function.is_published(connection, model)


def _publish(connection: Connection, model: ReadModel) -> None:
    view = pg.Identifier("read_models", model.name)
    query = _sql(sql.view(model, sql.table(model)))
    connection.execute("set local lock_timeout = '10s'")  # rather fail and be tried again than hold up its readers
    try:
        with connection.transaction():
            connection.execute(pg.SQL("create or replace view {} as {}").format(view, query))
    except errors.InvalidTableDefinition:
        # A view that loses or changes columns cannot be replaced in place; views built on it are made again by dbt.
        connection.execute(pg.SQL("drop view {} cascade").format(view))
        connection.execute(pg.SQL("create view {} as {}").format(view, query))
    _comment(connection, pg.SQL("view {}").format(view), model.grain)
    for name, text in model.descriptions.items():
        _comment(connection, pg.SQL("column {}.{}").format(view, pg.Identifier(name)), text)
    table_function.publish(connection, model)


def _comment(connection: Connection, what: pg.Composable, text: str) -> None:
    connection.execute(pg.SQL("comment on {} is {}").format(what, pg.Literal(text)))


def _sql(text: str) -> Any:  # noqa: ANN401
    """Vouch for generated SQL, as the driver takes no other text: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
