"""The real servers that tests use, started once, and a fresh database and store for every test.

A database is cloned from a migrated template, so a test costs a tenth of a second, not a migration.
"""

from __future__ import annotations

import base64
import itertools
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml
from psycopg import sql
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.local import dagster, platform
from analytics_pipelines.settings import PROJECT_FOLDER, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool
    from redis import Redis

TEMPLATE = "pipelines_template"
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Take Ctrl-C again where a shell has started the tests in the background, with it ignored.

    What the tests start would ignore it, too, and Dagster's services take SIGTERM for it: they would never end.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """Keep a developer's own platform out of the tests: only what a test sets counts. Personal data need a key."""
    for name in [name for name in os.environ if name.startswith(("PIPELINES_", "DAGSTER_HOME"))]:
        del os.environ[name]
    os.environ["PIPELINES_MASTER_KEY"] = base64.b64encode(os.urandom(32)).decode()


@pytest.fixture(scope="session")
def servers(_no_settings_from_outside: None) -> Iterator[Settings]:
    """Postgres and Redis of a state folder of their own, with a migrated template database."""
    with tempfile.TemporaryDirectory(prefix="pipelines-tests-") as folder:
        Path(folder).chmod(0o711)  # as root, the server's unprivileged user must pass through
        settings = Settings(home=Path(folder))
        try:
            settings = platform.up(settings)
            with psycopg.connect(connections.admin_url(settings), autocommit=True) as connection:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
            migrations.migrate(_in_database(settings, TEMPLATE))
            yield settings
        finally:
            platform.down(settings)


@pytest.fixture
def database_settings(servers: Settings) -> Iterator[Settings]:
    """Settings that point at a fresh, migrated database and at an empty Redis database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(connections.admin_url(servers), autocommit=True) as admin:
        clone = sql.SQL("create database {} template {}")
        admin.execute(clone.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
        yield _in_database(servers, name)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def database(database_settings: Settings) -> Iterator[ConnectionPool]:
    """A pool of runtime sessions to a fresh, migrated database."""
    with connections.open_pool(database_settings) as pool:
        yield pool


@pytest.fixture
def store(database: ConnectionPool) -> EventStore:
    """The event log of a fresh database."""
    return EventStore(database)


@pytest.fixture
def redis_client(servers: Settings) -> Iterator[Redis]:
    """A client of the real Redis, emptied."""
    with connections.open_redis(servers) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="session")
def instance(servers: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    """Dagster's own storage as the project configures it, on the real Postgres; what runs print is not captured."""
    from dagster import DagsterInstance

    folder = tmp_path_factory.mktemp("dagster")
    configuration = yaml.safe_load((PROJECT_FOLDER / "dagster.yaml").read_text(encoding="utf-8"))
    configuration["compute_logs"] = {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
    (folder / "dagster.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**dagster.dagster_environment(servers), "DAGSTER_HOME": str(folder)}.items():
            patch.setenv(name, value)
        opened = DagsterInstance.get()
        assert opened.compute_log_manager  # made when first asked for, of the environment
    with opened:
        yield opened


def _in_database(settings: Settings, name: str) -> Settings:
    urls = {}
    for field in ("database_url", "admin_database_url"):
        url: SecretStr | None = getattr(settings, field)
        if url is not None:
            urls[field] = SecretStr(urlunsplit(urlsplit(url.get_secret_value())._replace(path=f"/{name}")))
    return settings.model_copy(update=urls)
