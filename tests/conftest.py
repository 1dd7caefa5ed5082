"""The real servers that tests use, started once a process, and a fresh database and store for every test.

A database is cloned from a migrated template, so a test costs a tenth of a second, not a migration. `make test` runs
two processes beside each other, each with servers of its own; nothing that was started outlives the run.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import psutil
import psycopg
import pytest
import yaml
from psycopg import sql
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.local import dagster, platform
from analytics_pipelines.local.process import end
from analytics_pipelines.settings import PROJECT_FOLDER, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool
    from redis import Redis
    from xdist.scheduler import LoadFileScheduling

TEMPLATE = "pipelines_template"

# A database is 490 files: to make them took the server 0.5 s on a disk, and takes 0.03 s in memory.
MEMORY = "TESTS_MEMORY_FOLDER"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux has it
_ENOUGH_MEMORY = 4 * 2**30

# As Dagster's processes have it (`dagster_environment`): BLAS threads would spin against those of the other tests.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

# How long an example takes says nothing where other tests run beside it.
hypothesis.settings.register_profile("shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("shared")

_numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    """Take Ctrl-C again where a shell has started the tests in the background, with it ignored.

    What the tests start would ignore it, too, and Dagster's services take SIGTERM for it: they would never end.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit ends the tests as Ctrl-C does
        _leave_nothing_behind(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Keep together, on one of several processes, the tests of a file, whose fixtures they share, and all of `e2e`.

    The end-to-end tests share one demo platform and take longest: in the order of the folders they begin early.
    """
    from xdist.scheduler import LoadFileScheduling

    # Not by the mark `xdist_group`: pytest 9.2 no longer lets xdist 3.8 see it, and nothing says so (its issue 1386).
    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "e2e" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # not the most tests first
    return Scheduling(config, log)


def _leave_nothing_behind(config: pytest.Config) -> None:
    """Have all temporary folders made in one of this run, and end, with the run, every process that lives by it.

    The fixtures end what they start. This is for a process of pytest that was killed, or was not given the time: after
    Ctrl-C each has seconds.
    """
    folder = tempfile.mkdtemp(prefix="pipelines-run-")
    Path(folder).chmod(0o711)  # as root, the server's unprivileged user must pass through
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # `tmp_path` is kept, to be looked at
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    memory = _folder_in_memory()
    if memory is not None:
        os.environ[MEMORY] = memory

    def clean_up() -> None:
        for record in Path(folder).rglob("connection.json"):
            with contextlib.suppress(PipelinesError):  # what does not end by itself is ended below
                platform.down(Settings(home=record.parent))
        left = [process for process in psutil.process_iter() if _lives_by(folder, process)]
        end(left, ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)))
        shutil.rmtree(folder, ignore_errors=True)
        if memory is not None:
            shutil.rmtree(memory, ignore_errors=True)

    config.add_cleanup(clean_up)


def _folder_in_memory() -> str | None:
    """Make a folder for the databases of tests where files are made fastest; None where there is too little of it."""
    if not _SHARED_MEMORY.exists() or shutil.disk_usage(_SHARED_MEMORY).free < _ENOUGH_MEMORY:
        return None
    folder = tempfile.mkdtemp(prefix="pipelines-run-", dir=_SHARED_MEMORY)
    Path(folder).chmod(0o711)
    return folder


def _lives_by(folder: str, process: psutil.Process) -> bool:
    """Tell whether a process was started with the folder in its command or in its environment."""
    with contextlib.suppress(psutil.Error):
        words = [*process.cmdline(), *process.environ().values()]
        return process.pid != os.getpid() and any(folder in word for word in words)
    return False


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
                # What a killed process leaves is in the files all the same; only a machine that stops would miss it.
                connection.execute("alter system set fsync = off")
                connection.execute("alter system set full_page_writes = off")
                connection.execute("select pg_reload_conf()")
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
                if MEMORY in os.environ:
                    _move_into_memory(connection, TEMPLATE)  # and with it whatever is cloned from it
            migrations.migrate(_in_database(settings, TEMPLATE))
            yield settings
        finally:
            platform.down(settings)


@pytest.fixture
def database_settings(servers: Settings) -> Iterator[Settings]:
    """Settings that point at a fresh, migrated database and at an empty Redis database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(connections.admin_url(servers), autocommit=True) as admin:
        # Its files are copied: written to the WAL page by page they take as long again.
        clone = sql.SQL("create database {} template {} strategy file_copy")
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


def _move_into_memory(admin: psycopg.Connection, database: str) -> None:
    """Move a database into a folder in memory, which belongs to whom the server runs as."""
    folder = tempfile.mkdtemp(dir=os.environ[MEMORY])
    row = admin.execute("show data_directory").fetchone()
    assert row is not None
    owner = Path(row[0]).stat()
    os.chown(folder, owner.st_uid, owner.st_gid)
    admin.execute(sql.SQL("create tablespace in_memory location {}").format(folder))
    admin.execute(sql.SQL("alter database {} set tablespace in_memory").format(sql.Identifier(database)))


def _in_database(settings: Settings, name: str) -> Settings:
    urls = {}
    for field in ("database_url", "admin_database_url"):
        url: SecretStr | None = getattr(settings, field)
        if url is not None:
            urls[field] = SecretStr(urlunsplit(urlsplit(url.get_secret_value())._replace(path=f"/{name}")))
    return settings.model_copy(update=urls)
