"""Bringing a read model up to a position of the log.

Defines `advance` (fold what is new into the state, rows and checkpoint in one transaction) and `differences` (replay a
part of the keys from zero and compare). What a model is stands in `models.py`, the SQL in `sql.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.read_models import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel

SHOWN = 5


def advance(connection: Connection, model: ReadModel, up_to: int) -> int:
    """Fold the events up to a position into the model, and return how many keys they touched.

    Rows and checkpoint are written in the caller's transaction. A declaration that changed gets a table of its own,
    folded from zero, and the public view is pointed at it.
    """
    reader = sql.table(model)
    after = progress.read_checkpoint(connection, reader)
    touched = 0
    if not _exists(connection, model):
        touched = _build(connection, model, up_to)
    elif after < up_to:
        touched = connection.execute(_sql(sql.merge(model)), _range(after, up_to)).rowcount
    if not _is_published(connection, model):
        _publish(connection, model)
    progress.write_checkpoint(connection, reader, max(after, up_to))
    return touched


def differences(connection: Connection, model: ReadModel, *, slices: int = 1, part: int = 0) -> tuple[int, list[str]]:
    """Replay the model from zero to its checkpoint and compare it with the live rows.

    Returns how many keys were compared, and some of those that differ, as `tenant/key`.

    Args:
        connection: a session.
        model: the model.
        slices: compare every so-many-th key; 1 compares all.
        part: which of the slices.
    """
    up_to = progress.read_checkpoint(connection, sql.table(model))
    arguments = _range(0, up_to) | {"slices": slices, "slice": part}
    key = model.key
    connection.execute(_sql(f"create temporary table replayed on commit drop as {sql.fold(model)}"), arguments)
    compared = connection.execute("select count(*) from replayed").fetchone()
    assert compared is not None
    different = f"""
        select coalesce(live.tenant_id, replayed.tenant_id) || '/' || coalesce(live.{key}, replayed.{key})
        from (
            select * from {sql.table(model)}
            where %(slices)s = 1 or abs(hashtext({key})::bigint) %% %(slices)s = %(slice)s
        ) as live
        full join replayed on live.tenant_id = replayed.tenant_id and live.{key} = replayed.{key}
        where live is distinct from replayed
        order by 1 limit {SHOWN}
    """  # noqa: S608 - the names come from the declaration
    rows = connection.execute(_sql(different), arguments).fetchall()
    connection.execute("drop table replayed")
    return compared[0], [row[0] for row in rows]


def _build(connection: Connection, model: ReadModel, up_to: int) -> int:
    """Fold from zero into a new table: unlike an insert, CREATE TABLE AS folds in parallel."""
    table = sql.table(model)
    touched = connection.execute(_sql(f"create table {table} as {sql.fold(model)}"), _range(0, up_to)).rowcount
    connection.execute(_sql(f"alter table {table} add primary key (tenant_id, {model.key})"))
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
    return dict(described) == _descriptions(model) and facts == (model.grain, True)


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
    for name, text in _descriptions(model).items():
        _comment(connection, pg.SQL("column {}.{}").format(view, pg.Identifier(name)), text)


def _descriptions(model: ReadModel) -> dict[str, str]:
    columns = {column.name: column.description for column in model.columns}
    return {"tenant_id": "Whose row it is", model.key: model.key_description, **columns}


def _comment(connection: Connection, what: pg.Composable, text: str) -> None:
    connection.execute(pg.SQL("comment on {} is {}").format(what, pg.Literal(text)))


def _range(after: int, up_to: int) -> dict[str, Any]:
    return {"after": after, "up_to": up_to, "slices": 1, "slice": 0}


def _sql(text: str) -> pg.SQL:
    """Vouch for generated SQL, as the driver takes no other text: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
