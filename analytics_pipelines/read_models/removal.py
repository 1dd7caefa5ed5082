"""Removing a read model that the code declares no more: what serves it, its versions, and their checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql as pg

from analytics_pipelines.read_models import table_function, versions

if TYPE_CHECKING:
    from psycopg import Connection


def drop(connection: Connection, name: str) -> list[str]:
    """Drop the view, the function as of a moment and the tables of a read model; return the names of view and tables.

    Its checkpoints go with them: a reader that never comes again would keep partitions from being detached.

    Raises:
        psycopg.errors.DependentObjectsStillExist: something is built upon it.
        psycopg.errors.LockNotAvailable: it is being read, where the session waits no longer for locks.
    """
    versions.lock(connection, name)
    tables = _tables(connection, name)
    connection.execute(pg.SQL("drop view if exists {}").format(pg.Identifier("read_models", name)))
    table_function.drop(connection, name)
    dropped = [f"read_models.{name}"]
    for table in tables:
        connection.execute(pg.SQL("drop table if exists {}").format(pg.Identifier(*table.split("."))))
        dropped.append(table)
    connection.execute(
        "delete from progress.checkpoints where reader ~ %s", [rf"^read_models\.{name}__v[0-9a-f]{{8}}$"]
    )
    connection.execute("delete from read_models.versions where model = %s", [name])
    return dropped


def _tables(connection: Connection, name: str) -> list[str]:
    """Return the tables of all versions, also of those that are in the account no more."""
    rows = connection.execute(
        "select 'read_models.' || relname from pg_class where relnamespace = 'read_models'::regnamespace "
        "and relkind = 'r' and relname ~ %s order by relname",
        [f"^{name}__v[0-9a-f]{{8}}(__days)?$"],
    )
    return [table for (table,) in rows.fetchall()]
