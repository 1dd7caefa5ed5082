"""Running assets as Dagster does, over a fresh database, with Dagster's own storage on the real Postgres."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import AssetSelection, DagsterInstance, ExecuteInProcessResult, materialize
from psycopg import errors, sql
from pydantic import SecretStr

from analytics_pipelines import connections
from analytics_pipelines.local import accounts, platform
from analytics_pipelines.resources import Platform
from analytics_pipelines.settings import Settings
from analytics_pipelines.warehouse import access

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


class AssetRuns:
    """Runs assets and checks of a room in this process, and reads what the runs said."""

    def __init__(self, instance: DagsterInstance) -> None:
        """Take Dagster's storage."""
        self._instance = instance

    def run(self, definitions: Sequence[Any], selection: AssetSelection | None = None) -> ExecuteInProcessResult:
        """Run what is selected of these assets and checks."""
        return materialize(
            definitions, selection=selection, instance=self._instance, resources={"platform": Platform()}
        )

    @staticmethod
    def broken(result: ExecuteInProcessResult) -> set[str]:
        """Return the names of the checks that did not pass."""
        return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}

    @staticmethod
    def metadata(result: ExecuteInProcessResult) -> dict[str, Any]:
        """Return what the catalog was told of each asset."""
        return {
            event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }


@pytest.fixture
def asset_runs(instance: DagsterInstance, database_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AssetRuns:
    """Runs of assets over the test's database."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    return AssetRuns(instance)


@pytest.fixture
def replicable() -> Callable[[Path], Settings]:
    """Return what makes a platform in a folder whose server is running and writes what a standby needs."""

    def make(home: Path) -> Settings:
        settings = platform.up(Settings(home=home))
        assert settings.admin_database_url is not None
        with psycopg.connect(settings.admin_database_url.get_secret_value(), autocommit=True) as admin:
            admin.execute("alter system set wal_level = 'replica'")
        platform.down(Settings(home=home))
        return platform.up(Settings(home=home))

    return make


@pytest.fixture
def standby() -> Callable[[Path, int], AbstractContextManager[None]]:
    """Return what serves the data of a server that was stopped as those of a standby, on a port."""

    @contextmanager
    def serve(postgres: Path, port: int) -> Generator[None]:
        account = accounts.server_account(postgres)
        data = postgres.resolve() / "data"
        (data / "standby.signal").touch()
        if account is not None:
            shutil.chown(data / "standby.signal", account.pw_uid, account.pw_gid)
        command = [str(accounts.reachable_binaries(account) / "postgres"), "-D", str(data), "-p", str(port)]
        with subprocess.Popen(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **accounts.as_user(account)
        ) as server:
            try:
                deadline = time.monotonic() + 60
                lock = data / "postmaster.pid"
                while not (lock.exists() and lock.read_text().rstrip().endswith("ready")):
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield
            finally:
                server.terminate()

    return serve


class Isolation:
    """Tries out what a login of a BI tool can do with everything that a database has in it."""

    SCHEMAS = ("marts", "graph", "forecasts", "features")
    # What a login may set, and sets itself free of. The first leaves it as it is.
    SETTINGS = (
        "reset all",
        "set default_transaction_read_only = off",
        "set role bi_reader",
        "set row_security = off",
        "set search_path = access, progress, event_log, vault, staging",
        "set pipelines.up_to_position = '9223372036854775807'",
    )
    REFUSED = (
        "set role pipelines_runtime",
        "set role pipelines_log_owner",
        "set session authorization pipelines",
        "create table public.mine (number integer)",
        "create temporary table mine (number integer)",
        "create schema mine",
        "create function public.mine() returns integer language sql return 1",
        "create role mine",
        "grant bi_reader to pipelines",
        "select lo_create(0)",
        "select lo_from_bytea(0, 'mine')",
        "select pg_advisory_lock(2017, 1)",
        "copy (select 1) to program 'true'",
    )
    # A value of a type by its category; the text 1 is one of any other.
    VALUES: ClassVar = {"D": "now", "T": "1 day", "A": "{}", "U": "{}"}

    def __init__(self, admin: psycopg.Connection, bi: psycopg.Connection) -> None:
        """Take a superuser's session and that of a login, both committing each statement."""
        self._admin = admin
        self._bi = bi

    def fill(self, *tenants: str) -> None:
        """Put a row of each tenant into every table that BI is to read, and into the bookkeeping that a view shows."""
        for tenant in tenants:
            for name in self._names("r", *self.SCHEMAS):
                self._insert(name, tenant)
            self._insert("progress.builds", tenant, asset_key="marts/filled")

    def leaks(self, tenant: str) -> list[str]:
        """Return what the login sees of other tenants or does not see of its own, and what it may write.

        It is to read the tables and views of the BI schemas and the functions for reading as of a moment, nothing else.
        """
        found: list[str] = []
        for setting in self.SETTINGS:
            self._bi.execute("reset role")
            self._bi.execute("reset all")
            self._bi.execute(setting.encode())
            for name in self._names("rvmpfS"):
                seen = self._tenants(name)
                is_for_bi = name.partition(".")[0] in self.SCHEMAS
                is_off = "row_security" in setting and seen is None
                if seen != ({tenant} if is_for_bi else None) and not is_off:
                    found.append(f"after {setting!r} {name} shows {seen}")
            found += [
                f"after {setting!r} {name}() can be called"
                for name in self._callable()
                if not name.endswith("_as_of") or not (self._tenants(f"{name}()") or set()) <= {tenant}
            ]
            found += [f"after {setting!r}: {statement}" for statement in self.REFUSED if self._may(statement)]
        return found + self._privileges()

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Return what the login finds."""
        return self._bi.execute(query.encode()).fetchall()

    def _names(self, kinds: str, *schemas: str) -> list[str]:
        query = """
            select n.nspname || '.' || c.relname from pg_class as c join pg_namespace as n on n.oid = relnamespace
            where relkind::text = any(%s) and n.nspname !~ '^pg_|^information_schema$'
                and (n.nspname = any(%s) or %s)
        """
        return [name for (name,) in self._admin.execute(query, [list(kinds), list(schemas), not schemas])]

    def _tenants(self, name: str) -> set[str | None] | None:
        """Return whose rows the login sees; None for what it may not read at all."""
        try:
            return {
                row[0]
                for row in self._bi.execute(
                    f"select to_jsonb(whole_row) ->> 'tenant_id' from {name} as whole_row".encode()
                )
            }
        except errors.InsufficientPrivilege:
            return None

    def _may(self, statement: str) -> bool:
        try:
            self._bi.execute(statement.encode())
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
            return False
        return True

    def _callable(self) -> list[str]:
        query = """
            select n.nspname || '.' || p.proname from pg_proc as p join pg_namespace as n on n.oid = pronamespace
            where n.nspname !~ '^pg_|^information_schema$'
                and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
        """
        return [name for (name,) in self._bi.execute(query)]

    def _privileges(self) -> list[str]:
        query = """
            select 'may write ' || c.oid::regclass from pg_class as c
            where case
                when c.relkind = 'S' then has_sequence_privilege(c.oid, 'usage, update')
                when c.relkind in ('r', 'v', 'm', 'p', 'f')
                    then has_table_privilege(c.oid, 'insert, update, delete, truncate, references, trigger')
            end
            union all
            select 'may create in ' || nspname from pg_namespace where has_schema_privilege(oid, 'create')
            union all
            select 'may create in the database' where has_database_privilege(current_database(), 'create, temporary')
        """
        # pg_settings takes updates, which are SET by another name.
        return [text for (text,) in self._bi.execute(query) if text != "may write pg_settings"]

    def _insert(self, name: str, tenant: str, **values: str) -> None:
        checks = self._admin.execute(
            "select conname from pg_constraint where conrelid = %s::regclass and contype in ('c', 'f')", [name]
        ).fetchall()
        table = sql.Identifier(*name.split("."))
        for (check,) in checks:  # which values are right is not what is tried out here
            self._admin.execute(sql.SQL("alter table {} drop constraint {}").format(table, sql.Identifier(check)))
        columns = self._admin.execute(
            "select attname, typcategory from pg_attribute join pg_type as t on t.oid = atttypid where attnum > 0 "
            "and attrelid = %s::regclass and attnotnull and attgenerated = ''", [name]
        ).fetchall()  # fmt: skip
        row = {column: self.VALUES.get(category, "1") for column, category in columns} | values | {"tenant_id": tenant}
        insert = sql.SQL("insert into {} ({}) values ({}) on conflict do nothing").format(
            table, sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Literal, row.values()))
        )
        self._admin.execute(insert)


@pytest.fixture
def isolation(servers: Settings) -> Callable[[Settings, str], AbstractContextManager[Isolation]]:
    """Return what lets a new login of BI see a tenant of a database, to try out what it can do."""

    @contextmanager
    def let_in(settings: Settings, tenant: str) -> Generator[Isolation]:
        assert settings.database_url is not None
        path = urlsplit(settings.database_url.get_secret_value()).path
        url = urlsplit(connections.admin_url(servers))._replace(path=path)
        settings = settings.model_copy(update={"admin_database_url": SecretStr(url.geturl())})
        name = f"bi_{path.strip('/')}"
        password = access.create(settings, name, [tenant])
        with psycopg.connect(url.geturl(), autocommit=True) as admin:
            place = url._replace(netloc=f"{name}:{password}@{url.hostname}:{url.port}")
            with psycopg.connect(place.geturl(), autocommit=True) as bi:
                yield Isolation(admin, bi)
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))

    return let_in
