"""Bringing a read model up to a position of the log.

Defines `advance` (fold what is new into the state, rows and checkpoint in one transaction) and `differences` (replay a
part of the keys from zero and compare). What a model is stands in `models.py`, the SQL in `sql.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString, cast

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
    folded from zero, and the public view is pointed at it. Nothing happens when the model is there already.
    """
    reader = sql.table(model)
    after = progress.read_checkpoint(connection, reader)
    if after >= up_to:
        return 0
    if after == 0:
        touched = _build(connection, model, up_to)
        _publish(connection, model)
    else:
        touched = connection.execute(_sql(sql.merge(model)), _range(after, up_to)).rowcount
    progress.write_checkpoint(connection, reader, up_to)
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
    connection.execute(_sql(f"drop table if exists {table} cascade"))
    touched = connection.execute(_sql(f"create table {table} as {sql.fold(model)}"), _range(0, up_to)).rowcount
    connection.execute(_sql(f"alter table {table} add primary key (tenant_id, {model.key})"))
    return touched


def _publish(connection: Connection, model: ReadModel) -> None:
    view = pg.Identifier("read_models", model.name)
    columns = connection.execute(
        "select count(*) from information_schema.columns where table_schema = 'read_models' and table_name = %s",
        [model.name],
    ).fetchone()
    # A view whose columns changed cannot be replaced in place; views built on it are made again by dbt.
    if columns is not None and columns[0]:
        connection.execute(pg.SQL("drop view {} cascade").format(view))
    connection.execute(pg.SQL("create view {} as {}").format(view, _sql(sql.view(model, sql.table(model)))))
    _comment(connection, pg.SQL("view {}").format(view), model.grain)
    _comment(connection, pg.SQL("column {}.tenant_id").format(view), "Whose row it is")
    _comment(connection, pg.SQL("column {}.{}").format(view, pg.Identifier(model.key)), model.key_description)
    for column in model.columns:
        _comment(connection, pg.SQL("column {}.{}").format(view, pg.Identifier(column.name)), column.description)


def _comment(connection: Connection, what: pg.Composable, text: str) -> None:
    connection.execute(pg.SQL("comment on {} is {}").format(what, pg.Literal(text)))


def _range(after: int, up_to: int) -> dict[str, Any]:
    return {"after": after, "up_to": up_to, "slices": 1, "slice": 0}


def _sql(text: str) -> pg.SQL:
    """Vouch for generated SQL, as the driver takes no other text: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
