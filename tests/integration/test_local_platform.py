"""The local platform keeps its promises with real servers: start, attach, recover, keep to itself."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

SERVERS = ["postgres", "redis"]
UP = """
from analytics_pipelines.local import platform
from analytics_pipelines.settings import load_settings
platform.up(load_settings())
"""
SERVER_ACCOUNT = """
import sys
from pathlib import Path
from analytics_pipelines.local import accounts
accounts.USER = sys.argv[1]
print(accounts.server_account(Path("/nonexistent")).pw_uid)
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a new state folder with a space in its path, that Postgres' user can reach; its servers end with it."""
    with _open_folder() as home, _served_from(home):
        monkeypatch.setenv("PIPELINES_HOME", str(home))
        yield home


@pytest.fixture(scope="module")
def _one_home() -> Iterator[Path]:
    with _open_folder() as home, _served_from(home):
        yield home


@pytest.fixture
def used_home(_one_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a state folder whose servers may have run before: making a database anew takes a second."""
    monkeypatch.setenv("PIPELINES_HOME", str(_one_home))
    return _one_home


@pytest.fixture
def closed_home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a state folder in a folder that no other user may enter, as /root is."""
    with tempfile.TemporaryDirectory(prefix="pipelines-closed-") as folder:
        home = Path(folder) / "state"
        with _served_from(home):
            monkeypatch.setenv("PIPELINES_HOME", str(home))
            yield home


@contextlib.contextmanager
def _open_folder() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="pipelines test ") as folder:
        Path(folder).chmod(0o711)  # pytest's own temporary folders cannot be entered by other users
        yield Path(folder) / "state folder"


@contextlib.contextmanager
def _served_from(home: Path) -> Generator[None]:
    yield
    platform.down(Settings(home=home))
    if (home / "postgres").is_symlink():
        shutil.rmtree((home / "postgres").resolve())


def url(settings: Settings, *, admin: bool = False) -> str:
    value = settings.admin_database_url if admin else settings.database_url
    assert value is not None
    return value.get_secret_value()


def store(settings: Settings) -> redis.Redis:
    assert settings.redis_url is not None
    return redis.Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)


def pids(settings: Settings) -> list[int | None]:
    return [platform.status(settings).servers[name].pid for name in SERVERS]


def kill(settings: Settings) -> None:
    """End both servers as a power cut would, without touching their children."""
    for pid in pids(settings):
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def write_something(settings: Settings) -> None:
    with psycopg.connect(url(settings)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    with store(settings) as client:
        client.set("answer", "42")


def assert_something_is_there(settings: Settings) -> None:
    with psycopg.connect(url(settings)) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchall() == [(42,)]
    with store(settings) as client:
        assert client.get("answer") == "42"


def fetch(settings: Settings, path: str) -> tuple[int, bytes]:
    """Ask the documentation's server for a path as it is written: clients would take `..` out of it."""
    connection = http.client.HTTPConnection(urlsplit(settings.docs_url or "").netloc, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_up_attaches_to_what_runs_and_keeps_ports_passwords_and_data(home: Path) -> None:
    """A second `up` starts nothing; after `down` the same addresses, passwords and data come back."""
    first = platform.up(load_settings())
    write_something(first)
    running = pids(first)
    again = platform.up(load_settings())
    assert (again, pids(again)) == (first, running)
    assert platform.down(again) == ["redis", "postgres"]
    assert platform.down(again) == []
    assert not platform.status(load_settings()).is_healthy
    third = platform.up(load_settings())
    assert third == first == load_settings()
    assert_something_is_there(third)
    readable = [
        path for path in home.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert readable == []


def test_postgres_takes_passwords_only_and_gives_the_runtime_login_no_power(used_home: Path) -> None:
    """Sessions need the password, run in UTC, sort by code point, survive a crash, and are no superusers."""
    settings = platform.up(load_settings())
    with psycopg.connect(url(settings)) as connection:
        row = connection.execute(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls, current_setting('timezone'), "
            "current_setting('fsync'), current_setting('synchronous_commit'), 'B' < 'a', lower('É'), "
            "inet_server_addr()::text FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        owners = connection.execute(
            "SELECT datname, pg_get_userbyid(datdba) FROM pg_database "
            "WHERE datname IN ('pipelines', 'dagster') ORDER BY datname"
        ).fetchall()
    assert row == (False, "UTC", "on", "on", True, "é", "127.0.0.1/32")
    assert owners == [("dagster", "pipelines"), ("pipelines", "pipelines")]
    with psycopg.connect(url(settings, admin=True)) as connection:
        assert connection.execute("SELECT current_user, current_database()").fetchone() == ("postgres", "pipelines")
        assert connection.execute("SHOW unix_socket_directories").fetchone() == ("",)
        assert connection.execute("SHOW shared_preload_libraries").fetchone() == ("pg_stat_statements",)
        rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        kept = connection.execute("SELECT split_part(rolpassword, ':', 1) FROM pg_authid WHERE rolcanlogin").fetchall()
    assert rules == [("scram-sha-256",)]
    assert kept == [("SCRAM-SHA-256$1",)] * 2  # random passwords: each session would pay for more iterations
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url(settings, admin=True).replace("postgres:", "postgres:x"))
    parts = urlsplit(settings.redis_url.get_secret_value() if settings.redis_url else "")
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(parts.hostname or "", parts.port or 0).ping()


def test_killed_servers_recover_with_their_data(used_home: Path) -> None:
    """After kill -9 the next `up` recovers, also while a session of the killed server is still at work."""
    settings = platform.up(load_settings())
    write_something(settings)

    def work_on() -> None:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url(settings)) as connection:
            connection.execute("SELECT count(*) FROM generate_series(1, 99999) AS a, generate_series(1, 99999) AS b")

    worker = threading.Thread(target=work_on)
    worker.start()
    with psycopg.connect(url(settings)) as connection:
        connection.autocommit = True
        while not connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT count%' AND state = 'active'"
        ).fetchall():
            pass
    kill(settings)
    assert {platform.status(settings).servers[name].state for name in SERVERS} == {"died"}
    again = platform.up(load_settings())
    assert again == settings
    assert_something_is_there(again)
    worker.join()


def test_number_of_a_killed_server_given_to_another_process_is_left_alone(used_home: Path) -> None:
    """A stale pid that is alive again as somebody else is neither attached to, nor stopped, nor in the way."""
    settings = platform.up(load_settings())
    write_something(settings)
    kill(settings)
    lock = used_home / "postgres" / "data" / "postmaster.pid"
    with _stranger(lock.stat().st_uid) as stranger:
        for name in SERVERS:
            record = used_home / "run" / f"{name}.json"
            record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": stranger.pid}))
        lock.write_text("\n".join([str(stranger.pid), *lock.read_text().splitlines()[1:]]))
        again = platform.up(load_settings())
        assert_something_is_there(again)
        assert stranger.pid not in pids(again)
        assert stranger.poll() is None


@contextlib.contextmanager
def _stranger(user: int) -> Generator[subprocess.Popen[bytes]]:
    """Run a process of Postgres' user that has nothing to do with the platform: Postgres looks only at the user."""
    with subprocess.Popen(["sleep", "61"], user=user if os.geteuid() == 0 else None) as process:
        try:
            yield process
        finally:
            process.kill()


def test_copy_of_a_state_folder_does_not_take_the_original_servers_for_its_own(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied state folder finds no servers running, and stopping it leaves those of the original alone."""
    settings = platform.up(load_settings())
    copy = used_home.with_name("copy")
    shutil.copytree(used_home, copy, symlinks=True, ignore=shutil.ignore_patterns("postgres"))
    monkeypatch.setenv("PIPELINES_HOME", str(copy))
    assert pids(load_settings()) == [None, None]
    assert platform.down(load_settings()) == []
    with pytest.raises(
        PipelinesError, match=r"port \d+ on 127.0.0.1 is in use by another program \(pid \d+, redis-server\)"
    ):
        platform.up(load_settings())
    monkeypatch.setenv("PIPELINES_HOME", str(used_home))
    assert platform.status(settings).is_healthy


def test_removed_connection_file_gets_new_passwords_and_keeps_the_data(home: Path) -> None:
    """Removing the connection file is a safe way to other ports and passwords, also while the servers run."""
    settings = platform.up(load_settings())
    write_something(settings)
    (home / "connection.json").unlink()
    again = platform.up(load_settings())
    assert url(again) != url(settings)
    assert_something_is_there(again)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url(settings))


def test_concurrent_ups_start_each_server_once(home: Path) -> None:
    """Two commands at the same time end well with one server each, which outlives both."""
    commands = [subprocess.Popen([sys.executable, "-c", UP]) for _ in range(2)]
    assert [command.wait() for command in commands] == [0, 0]
    settings = load_settings()
    assert platform.status(settings).is_healthy
    assert not list((home / "logs").glob("*.log.1"))  # what the log of a second start would have moved aside


def test_taken_port_is_one_line_that_names_it_and_the_remedy(used_home: Path) -> None:
    """A foreign program on a kept port, or on the UI's, is named, and so is the way out."""
    settings = platform.up(load_settings())
    platform.down(settings)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", urlsplit(url(settings)).port or 0))
        stranger.listen()
        with pytest.raises(
            PipelinesError, match=r"^port \d+ on 127.0.0.1 is in use .*pid \d+.*; stop it, or remove .*connection.json"
        ):
            platform.up(load_settings())
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        busy = load_settings().model_copy(update={"ui_port": stranger.getsockname()[1]})
        with pytest.raises(PipelinesError, match="stop it or set PIPELINES_UI_PORT"):
            platform.up(busy, ui=True)


def test_server_that_does_not_start_is_one_line_with_the_reason(used_home: Path) -> None:
    """A person reads why Postgres did not start, in one line, with the log to read on."""
    settings = platform.up(load_settings())
    platform.down(settings)
    (used_home / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(
        PipelinesError, match=r"^Postgres ended while starting: .*FATAL.*incompatible.*; see .*postgres.log$"
    ):
        platform.up(load_settings())
    (used_home / "postgres" / "data" / "PG_VERSION").write_text("18\n")
    platform.up(load_settings())


def test_full_disk_is_one_line_before_anything_is_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without space for a database nothing is begun, and the line says how much is free where."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 * 2**20))
    with pytest.raises(PipelinesError, match=r"only 100 MB are free at .*; free some, or set PIPELINES_HOME"):
        platform.up(load_settings())
    assert not (home / "postgres" / "data").exists()


def test_database_half_made_by_a_killed_command_is_made_again(home: Path) -> None:
    """What a command killed during the making of the database left behind is not taken for a database."""
    with subprocess.Popen([sys.executable, "-c", UP]) as command:
        while not list(home.glob("postgres/draft-*/global")):
            assert command.poll() is None
            time.sleep(0.005)
        command.kill()
    assert not (home / "postgres" / "data").exists()
    assert platform.status(platform.up(load_settings())).is_healthy
    assert not list(home.glob("postgres/draft-*"))


def test_the_documentation_is_served_with_the_ui_and_nothing_else_is(
    used_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder alone can be fetched, at an address that is kept and that every process finds in its settings."""
    monkeypatch.setattr(platform.dagster, "start", lambda _: None)
    settings = platform.up(load_settings(), ui=True)
    (settings.docs / "index.html").write_text("<title>dbt</title>")

    assert fetch(settings, "/") == (200, b"<title>dbt</title>")
    for path in ("/../connection.json", "//../connection.json", "/%2e%2e/connection.json", "/..%2fconnection.json"):
        assert fetch(settings, path)[0] == 404
    assert load_settings() == settings
    assert platform.status(settings).servers["docs"].state == "running"

    assert platform.down(settings) == ["docs", "redis", "postgres"]
    assert platform.up(load_settings(), ui=True) == settings
    (used_home / "connection.json").unlink()
    moved = platform.up(load_settings(), ui=True)
    assert moved.docs_url != settings.docs_url
    assert fetch(moved, "/")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        fetch(settings, "/")


def test_documentation_served_elsewhere_is_not_served_here(used_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an address of the operator's own no server is started, and none is missing."""
    platform.down(Settings(home=used_home))
    monkeypatch.setattr(platform.dagster, "start", lambda _: None)
    monkeypatch.setenv("PIPELINES_DOCS_URL", "https://docs.example/")
    settings = platform.up(load_settings(), ui=True)
    assert settings.docs_url == "https://docs.example/"
    assert platform.status(settings).servers["docs"].state == "stopped"
    assert platform.status(settings).is_healthy


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's Postgres runs as another user")
def test_root_keeps_data_where_the_server_can_reach_them_and_opens_no_folder(
    closed_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a closed folder the data live elsewhere and are linked to; moving works, copying is refused."""
    settings = platform.up(load_settings())
    write_something(settings)
    assert closed_home.parent.stat().st_mode & 0o777 == 0o700
    place = (closed_home / "postgres").resolve()
    assert not place.is_relative_to(closed_home)
    assert (place / "data").stat().st_uid != 0
    copy = closed_home.with_name("copy")
    copy.mkdir()
    (copy / "postgres").symlink_to(place)
    monkeypatch.setenv("PIPELINES_HOME", str(copy))
    with pytest.raises(PipelinesError, match="was copied from"):
        platform.up(load_settings())
    platform.down(load_settings())
    monkeypatch.setenv("PIPELINES_HOME", str(closed_home))
    platform.down(load_settings())
    moved = closed_home.with_name("moved")
    closed_home.rename(moved)
    monkeypatch.setenv("PIPELINES_HOME", str(moved))
    assert_something_is_there(platform.up(load_settings()))
    platform.down(load_settings())
    moved.rename(closed_home)
    monkeypatch.setenv("PIPELINES_HOME", str(closed_home))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes the user that Postgres runs as")
def test_commands_that_find_no_user_for_the_server_make_one_and_agree_on_its_number() -> None:
    """On a machine that has never run Postgres, concurrent commands of root all get the user as it is in the end."""
    name = f"pipelines-test-{os.getpid()}"
    command = [sys.executable, "-c", SERVER_ACCOUNT, name]
    try:
        for _ in range(3):
            concurrent = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
            numbers = {int(each.communicate()[0]) for each in concurrent}
            assert numbers == {pwd.getpwnam(name).pw_uid}
            subprocess.run(["userdel", name], check=True)
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)
