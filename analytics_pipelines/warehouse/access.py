"""Who may read the warehouse: logins of BI tools, and the tenants that each of them sees.

Defines `create()`, `grant()`, `revoke()` and `logins()`. What a login sees is decided in the database, by the policies
that `access.protect` (a migration) puts on every table that BI reads; here logins are let in and shut out. That is the
admin login's work: the runtime login may not make others.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.validation import require_tenant

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

CONNECTIONS = 10
STATEMENT_SECONDS = 30
_NAME_BYTES = 63

_ROLE = """
    select rolname, rolcanlogin, pg_has_role(oid, 'bi_reader', 'usage'),
        rolsuper or rolbypassrls or has_table_privilege(oid, 'event_log.events', 'select')
    from pg_roles where rolname = %s
"""

# Rights on the database itself are not copied with it, so they are seen to whenever somebody is let in. The runtime
# role needs temporary tables; a BI login is to write nothing at all.
_NO_TEMPORARY_TABLES = """
    do $$ begin
        execute format('grant temporary on database %I to pipelines_runtime', current_database());
        execute format('revoke temporary on database %I from public', current_database());
    end $$
"""

_LOGINS = """
    select r.rolname, coalesce(g.tenants, '{}'), pg_has_role(r.oid, 'bi_reader', 'usage'),
        nullif(r.rolconnlimit, -1),
        (select split_part(s.setting, '=', 2)
         from pg_db_role_setting as d, unnest(d.setconfig) as s (setting)
         where d.setrole = r.oid and d.setdatabase = 0 and s.setting like 'statement_timeout=%')
    from pg_roles as r
    left join (
        select role, array_agg(tenant_id order by tenant_id) as tenants from access.bi_grants group by role
    ) as g on g.role = r.rolname
    where
        r.rolcanlogin and not r.rolsuper
        and (g.role is not null or pg_has_role(r.oid, 'bi_reader', 'usage'))
    order by r.rolname
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a login may take. None: as it was, and for one that is let in now the number said here.

    Attributes:
        connections: sessions at once; 10.
        statement_seconds: after how long its statements and idle transactions end, unless it sets another time; 30.
    """

    connections: int | None = None
    statement_seconds: int | None = None


AS_IT_WAS = Limits()


@dataclass(frozen=True, slots=True)
class Login:
    """A login of a BI tool.

    Attributes:
        name: its name, as Postgres' session_user.
        tenants: whose rows it sees.
        is_reader: whether it is a member of bi_reader; without, it reads nothing.
        connection_limit: how many sessions it may have at once; None for any number.
        statement_timeout: after what time its statements end unless it sets another, as Postgres writes it; None for
            the server's own.
    """

    name: str
    tenants: tuple[str, ...]
    is_reader: bool
    connection_limit: int | None
    statement_timeout: str | None


def grant(settings: Settings, login: str, tenants: Sequence[str], limits: Limits = AS_IT_WAS) -> None:
    """Let a login read the warehouse, the rows of these tenants besides those it already sees.

    Raises:
        PipelinesError: there is no such login, or it sees everything anyway; a tenant cannot be named so; or the admin
            login lacks a privilege.
    """
    _let_in(settings, login, tenants, limits, None)


def create(
    settings: Settings, login: str, tenants: Sequence[str], limits: Limits = AS_IT_WAS, *, password: str | None = None
) -> str:
    """Make a login and let it read the rows of these tenants.

    Returns:
        Its password: the given one, or one that was chosen and is kept nowhere.

    Raises:
        PipelinesError: the login is there already, or cannot be named so; otherwise as for `grant`.
    """
    if not 0 < len(login.encode()) <= _NAME_BYTES:
        raise PipelinesError(f"login {login[:100]!r}: Postgres takes names of 1 to {_NAME_BYTES} bytes")
    password = secrets.token_urlsafe(24) if password is None else password
    _let_in(settings, login, tenants, limits, password)
    return password


def without_events(settings: Settings, tenants: Sequence[str]) -> list[str]:
    """Return those of the tenants of which the log has nothing: not yet, or the name is misspelt."""
    query = """
        select tenant_id from unnest(%s::text[]) as named (tenant_id)
        where not exists (select from event_log.streams where streams.tenant_id = named.tenant_id)
    """
    with _admin(settings) as connection:
        return [tenant_id for (tenant_id,) in connection.execute(query, [list(tenants)]).fetchall()]


def revoke(settings: Settings, login: str, tenants: Sequence[str] = ()) -> tuple[str, ...]:
    """Take tenants from a login, all of them when none is named; without any left it reads nothing.

    The login itself stays; sessions under way see no more from their next statement on.

    Returns:
        The tenants that it still sees.

    Raises:
        PipelinesError: it sees nothing, or not one of these tenants; or the admin login lacks a privilege.
    """
    with _admin(settings) as connection:
        seen = connection.execute("select tenant_id from access.bi_grants where role = %s", [login]).fetchall()
        role = connection.execute(_ROLE, [login]).fetchone()
        if not seen and (role is None or not role[2]):
            raise PipelinesError(f"{login} is no login of BI; `pipelines access list` shows those there are")
        unseen = sorted(set(tenants) - {tenant for (tenant,) in seen})
        if unseen:
            raise PipelinesError(f"{login} does not see {', '.join(unseen)}; nothing was taken from it")
        taken = list(tenants) or [tenant for (tenant,) in seen]
        connection.execute("delete from access.bi_grants where role = %s and tenant_id = any(%s)", [login, taken])
        left = tuple(sorted({tenant for (tenant,) in seen} - set(taken)))
        if not left and role is not None:
            connection.execute(sql.SQL("revoke bi_reader from {}").format(sql.Identifier(login)))
    return left


def logins(pool: ConnectionPool) -> list[Login]:
    """Return the logins of BI tools, by name: members of bi_reader, and whoever was granted a tenant."""
    with pool.connection() as connection:
        rows = connection.execute(_LOGINS).fetchall()
    return [Login(name, tuple(tenants), *rest) for name, tenants, *rest in rows]


@contextmanager
def _admin(settings: Settings) -> Generator[Connection]:
    """Open the admin's transaction; what it may not do is one clear line."""
    url = connections.admin_url(settings)
    connections.probe(url, "")
    try:
        with psycopg.connect(url) as connection:
            yield connection
    except errors.InsufficientPrivilege as error:
        reason = str(error).splitlines()[0]
        raise PipelinesError(
            f"{connections.address(url)} refused: {reason}; set PIPELINES_ADMIN_DATABASE_URL to a login that may make "
            "and change roles"
        ) from None
    except (errors.UndefinedObject, errors.UndefinedTable, errors.InvalidSchemaName) as error:
        reason = str(error).splitlines()[0]
        raise PipelinesError(f"{connections.address(url)}: {reason}; run `pipelines migrate`") from None


def _let_in(settings: Settings, login: str, tenants: Sequence[str], limits: Limits, password: str | None) -> None:
    """Let a login in; with a password, make it first."""
    for tenant in tenants:
        require_tenant(tenant)
    with _admin(settings) as connection:
        role = connection.execute(_ROLE, [login]).fetchone()
        if password is None:
            _require_login(login, role)
        elif role is not None:
            raise PipelinesError(f"the login {login} exists already; leave --create out")
        else:
            _create_login(connection, login, password)
        if role is None or not role[2]:
            limits = Limits(limits.connections or CONNECTIONS, limits.statement_seconds or STATEMENT_SECONDS)
            connection.execute(sql.SQL("grant bi_reader to {}").format(sql.Identifier(login)))
            _set(connection, login, "default_transaction_read_only", "on")
        if limits.connections is not None:
            change = sql.SQL("alter role {} connection limit {}")
            connection.execute(change.format(sql.Identifier(login), sql.Literal(limits.connections)))
        if limits.statement_seconds is not None:
            for setting in ("statement_timeout", "idle_in_transaction_session_timeout"):
                _set(connection, login, setting, f"{limits.statement_seconds}s")
        connection.execute(_NO_TEMPORARY_TABLES)
        connection.execute(
            "insert into access.bi_grants select %s, t from unnest(%s::text[]) as t on conflict do nothing",
            [login, list(tenants)],
        )


def _require_login(login: str, role: tuple[Any, ...] | None) -> None:
    if role is None:
        raise PipelinesError(f"no login {login} on the server; correct the name, or add --create to make it")
    _, can_log_in, _, sees_all = role
    if not can_log_in:
        raise PipelinesError(f"{login} cannot log in, it is a group; name a login")
    if sees_all:
        raise PipelinesError(f"{login} reads the log itself and so sees every tenant; make another login for BI")


def _create_login(connection: Connection, login: str, password: str) -> None:
    # Sent as a verifier: the password itself reaches neither the server nor its log.
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    create = sql.SQL("create role {} login password {}")
    connection.execute(create.format(sql.Identifier(login), sql.Literal(verifier)))


def _set(connection: Connection, login: str, setting: str, value: str) -> None:
    change = sql.SQL("alter role {} set {} = {}")
    connection.execute(change.format(sql.Identifier(login), sql.Identifier(setting), sql.Literal(value)))
