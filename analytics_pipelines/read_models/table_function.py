"""A whole read model as of a moment or a position of the log, as a table function that BI tools select from.

Defines `publish`, `is_published` and `drop` of `read_models.<name>_as_of(at, up_to_position)`. It is made of the
model's own declaration, runs with the rights of its owner, who reads the log, and shows the tenants that are granted to
the session's login (`access.bi_grants`); the platform's own logins see all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString, cast

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines.read_models import sql
from analytics_pipelines.read_models.columns import literal

if TYPE_CHECKING:
    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel

_ARGUMENTS = "timestamp with time zone, bigint"


def is_published(connection: Connection, model: ReadModel) -> bool:
    """Tell whether the function is there and is that of this version of the model."""
    row = connection.execute(
        "select prosrc from pg_proc where oid = to_regprocedure(%s)", [f"read_models.{model.name}_as_of({_ARGUMENTS})"]
    ).fetchone()
    return row == (_body(model),)


def publish(connection: Connection, model: ReadModel) -> None:
    """Make the function, or replace the one of another version, in the caller's transaction."""
    name = pg.Identifier("read_models", f"{model.name}_as_of")
    types = {"tenant_id": "text", **dict.fromkeys(model.key, "text")}
    types |= {column.name: column.type for column in model.columns}
    columns = pg.SQL(", ").join(
        pg.SQL("{} {}").format(pg.Identifier(column), _sql(kind)) for column, kind in types.items()
    )
    create = pg.SQL(
        "create or replace function {}(at timestamptz default null, up_to_position bigint default null) "
        "returns table ({}) language plpgsql stable parallel restricted security definer "
        "set search_path = pg_catalog, pg_temp as {}"
    ).format(name, columns, pg.Literal(_body(model)))
    function = pg.SQL("function {}({})").format(name, _sql(_ARGUMENTS))
    try:
        with connection.transaction():
            connection.execute(create)
    except errors.InvalidFunctionDefinition:
        # A function that returns other columns cannot be replaced in place.
        connection.execute(pg.SQL("drop {} cascade").format(function))
        connection.execute(create)
    connection.execute(pg.SQL("revoke execute on {} from public").format(function))
    connection.execute(pg.SQL("grant execute on {} to bi_reader").format(function))
    comment = (
        f"{model.grain} As of a moment of event time (inclusive, UTC) or a position of the log, or both; never past "
        "the position that the model stands at."
    )
    connection.execute(pg.SQL("comment on {} is {}").format(function, pg.Literal(comment)))


def drop(connection: Connection, name: str) -> None:
    """Drop the function of a model, if there is one; what is built upon it keeps it."""
    function = pg.Identifier("read_models", f"{name}_as_of")
    connection.execute(pg.SQL("drop function if exists {}({})").format(function, _sql(_ARGUMENTS)))


def _body(model: ReadModel) -> str:
    reader = literal(sql.table(model))
    where = f"""position <= least($2, (
    select position from progress.checkpoints where tenant_id = '*' and reader = {reader}))
    and occurred_at <= coalesce($1, 'infinity')
    and ((select access.sees_all()) or tenant_id in (select access.tenants()))"""
    query = sql.view(model, f"({sql.fold(model, where, streams=False)}) as state").replace("%%", "%")
    # The columns that it returns are named like columns that it reads, which are meant. Planned anew for each call, and
    # in parallel, unlike a function in plain SQL.
    return f"#variable_conflict use_column\nbegin\nreturn query {query};\nend"


def _sql(text: str) -> pg.SQL:
    """Vouch for text that is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
