"""Taking away what was built of a declaration that is no more in the project.

Defines `retired` (read models and dbt models whose relation is still there, although nothing in the lineage makes it)
and `drop` (remove one of them, with all that is written down of it). A renamed model is a new one and a retired one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models import removal

if TYPE_CHECKING:
    from collections.abc import Collection

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

READ_MODELS = "read_models/"
DBT_SCHEMAS = ("staging", "intermediate", "marts")
LOCK_TIMEOUT = "5s"

_DROP = {
    "r": pg.SQL("drop table {}"),
    "p": pg.SQL("drop table {}"),
    "v": pg.SQL("drop view {}"),
    "m": pg.SQL("drop materialized view {}"),
}
_RETIRED = """
    select asset_key from (
        select asset_key from progress.builds where split_part(asset_key, '/', 1) = any(%s)
            and to_regclass(format('%%I.%%I', split_part(asset_key, '/', 1), split_part(asset_key, '/', 2))) is not null
        union select 'read_models/' || model from read_models.versions
    ) as built
    where asset_key <> all(%s)
    order by asset_key
"""
_ACCOUNTS = (
    "delete from progress.builds where asset_key = %(asset)s",
    "delete from progress.restatements where asset_key = %(asset)s",
    "delete from progress.tests where asset_key = %(asset)s",
    # Not its row of progress.changes: numbers that began anew would tell readers of a later one that nothing changed.
    "delete from progress.touched where model = %(relation)s",
)


def retired(connection: Connection, lineage: Collection[str]) -> list[str]:
    """Return the asset keys of what was built once, is still there, and is in the lineage no more.

    Args:
        connection: a session.
        lineage: the keys of the assets that are, as `schema/name`.
    """
    return [key for (key,) in connection.execute(_RETIRED, [list(DBT_SCHEMAS), list(lineage)]).fetchall()]


def drop(pool: ConnectionPool, asset_key: str, lineage: Collection[str]) -> list[str]:
    """Remove a retired asset, its relations and what is written down of it, in one transaction; return the relations.

    Raises:
        PipelinesError: the lineage has it, nobody knows it, something is built upon it, or it is being read.
    """
    with pool.connection() as connection:
        found = retired(connection, lineage)
        if asset_key in lineage:
            raise PipelinesError(f"{asset_key} is in the lineage; take its file out of the project first")
        if asset_key not in found:
            raise PipelinesError(
                f"{asset_key!r} names nothing that was taken out of the project; "
                + (f"what was is {', '.join(found)}" if found else "nothing was")
            )
        connection.execute(pg.SQL("set local lock_timeout = {}").format(pg.Literal(LOCK_TIMEOUT)))
        try:
            if asset_key.startswith(READ_MODELS):
                dropped = removal.drop(connection, asset_key.removeprefix(READ_MODELS))
            else:
                dropped = [_drop_relation(connection, asset_key)]
        except errors.DependentObjectsStillExist as error:
            upon = (error.diag.message_detail or str(error)).splitlines()[0]
            raise PipelinesError(f"{asset_key} stays: {upon}; drop that first") from None
        except errors.UndefinedTable:
            raise PipelinesError(f"{asset_key} was dropped by somebody else a moment ago") from None
        except errors.LockNotAvailable:
            raise PipelinesError(
                f"{asset_key} stays: it is being read or built; end the long queries (pg_stat_activity) and try again"
            ) from None
        for statement in _ACCOUNTS:
            connection.execute(statement, {"asset": asset_key, "relation": asset_key.replace("/", ".")})
    return dropped


def _drop_relation(connection: Connection, asset_key: str) -> str:
    relation = pg.Identifier(*asset_key.split("/"))
    row = connection.execute(
        "select relkind::text from pg_class where oid = to_regclass(%s)", [relation.as_string()]
    ).fetchone()
    if row is None:
        raise errors.UndefinedTable
    connection.execute(_DROP[row[0]].format(relation))
    return asset_key.replace("/", ".")
