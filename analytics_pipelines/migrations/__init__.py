"""Migrations: the tables that no room makes for itself, numbered, append-only, each applied once.

Defines `migrate()`. Add `NNNN_name.sql` here and a module of the same name in `versions/`; never change one that has
landed. Alembic keeps the account of what was applied; the SQL is plain. There is no way down: restore a backup.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics_pipelines.settings import Settings

FOLDER = Path(__file__).parent
LOCK = 2_019_000_001
"""The advisory lock under which one process at a time migrates."""


# Postgres 16 tells being a member from being allowed to SET ROLE.
_MAY_TAKE_RUNTIME_ROLE = """
    select rolsuper or pg_has_role(oid, 'pipelines_runtime',
        case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end)
    from pg_roles where rolname = %s
"""


def migrate(settings: Settings, *, revision: str = "head") -> list[str]:
    """Bring the database of the settings up to date, and return the revisions that were applied now.

    Also makes the runtime login of the settings' URL if the server does not know it, lets it take the role
    `pipelines_runtime`, and makes the database of Dagster's own storage.

    Args:
        settings: which database.
        revision: up to which revision; an older one only to try what a newer one does to data.

    Raises:
        PipelinesError: the server cannot be used, or the admin login lacks a privilege.
    """
    import psycopg
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import ProgrammingError

    from analytics_pipelines import connections
    from analytics_pipelines.errors import PipelinesError

    url = connections.admin_url(settings)
    connections.probe(url, "")
    applied: list[str] = []
    config = Config(attributes={"applied": applied})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url, autocommit=False))
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select pg_advisory_lock(:lock)"), {"lock": LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
            connection.execute(sqlalchemy.text("select pg_advisory_unlock(:lock)"), {"lock": LOCK})
        login, password = connections.runtime_login(settings)
        _admit_runtime_login(url, login, password)
        _create_dagster_database(url, login)
    except (ProgrammingError, psycopg.errors.InsufficientPrivilege) as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        raise PipelinesError(
            f"migrating {connections.address(url)} failed: {reason}; set PIPELINES_ADMIN_DATABASE_URL to a login that "
            "may create roles and schemas"
        ) from error
    finally:
        engine.dispose()
    return applied


def run_sql(file: str) -> None:
    """Run one SQL file of this folder inside the migration's transaction."""
    from alembic import op

    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute((FOLDER / file).read_text(encoding="utf-8"))
    driver.execute("reset role")


def _admit_runtime_login(url: str, login: str, password: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url) as connection:
        if connection.execute("select from pg_roles where rolname = %s", [login]).fetchone() is None:
            # Sent as a verifier: the password itself reaches neither the server nor its log.
            verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
            create = sql.SQL("create role {} login password {}")
            connection.execute(create.format(sql.Identifier(login), sql.Literal(verifier)))
        member = connection.execute(_MAY_TAKE_RUNTIME_ROLE, [login]).fetchone()
        if member is not None and not member[0]:
            connection.execute(sql.SQL("grant pipelines_runtime to {}").format(sql.Identifier(login)))


def _create_dagster_database(url: str, login: str) -> None:
    import psycopg
    from psycopg import sql

    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = 'dagster'").fetchone() is None:
            admin = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
            if admin is not None and not admin[0]:  # who makes a database for another must be a member of that other
                connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(login)))
            connection.execute(sql.SQL("create database dagster owner {}").format(sql.Identifier(login)))
