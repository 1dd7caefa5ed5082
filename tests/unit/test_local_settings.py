"""What is written for servers and shells is what they will read back, for any machine and any password."""

from __future__ import annotations

import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import commands, platform, ports, postgres
from analytics_pipelines.local.dagster import dagster_database_url
from analytics_pipelines.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE_PASSWORD = "p@ss/w:r#d?%&'$ x[1]"  # noqa: S105 - of no server
HOSTILE_URL = "postgresql://me%40home:p%40ss%2Fw%3Ar%23d%3F%25%26'$%20x%5B1%5D@db.example:6432/shop?sslmode=require"
GIBIBYTE = 2**30


def test_dagster_database_url_keeps_a_hostile_password() -> None:
    """Dagster logs in with exactly the operator's login, whatever characters are in it."""
    url = make_url(dagster_database_url(HOSTILE_URL))
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg2", "me@home", HOSTILE_PASSWORD)
    assert (url.host, url.port, url.database, dict(url.query)) == (
        "db.example",
        6432,
        "dagster",
        {"sslmode": "require"},
    )


def test_printed_environment_survives_the_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`eval "$(pipelines env)"` sets the very values, whatever characters are in them; both URLs come first."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path / "my $HOME; folder"))
    monkeypatch.setenv("PIPELINES_DATABASE_URL", HOSTILE_URL)
    monkeypatch.setenv("PIPELINES_REDIS_URL", "redis://:a'b$c@127.0.0.1:6379/0")
    printed = CliRunner().invoke(commands.env).output
    names = [line.partition("=")[0] for line in printed.splitlines()]
    assert names[:2] == ["PIPELINES_DATABASE_URL", "PIPELINES_REDIS_URL"]
    script = f'{printed}\nprintf "%s|%s|%s" "$PIPELINES_DATABASE_URL" "$PIPELINES_REDIS_URL" "$PIPELINES_HOME"'
    read = subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True, env={}).stdout
    assert read == f"{HOSTILE_URL}|redis://:a'b$c@127.0.0.1:6379/0|{tmp_path / 'my $HOME; folder'}"


@pytest.mark.parametrize(
    ("gibibytes", "cores", "shared_buffers", "work_mem"),
    [(1, 1, "256MB", "16MB"), (8, 4, "2048MB", "128MB"), (256, 64, "2048MB", "256MB")],
)
def test_postgres_settings_follow_the_size_of_the_machine(
    gibibytes: int, cores: int, shared_buffers: str, work_mem: str
) -> None:
    """Postgres takes a quarter of the memory, at most 2 GB, and as many workers as there are processors."""
    settings = postgres.analytics_settings(gibibytes * GIBIBYTE, cores)
    assert (settings["shared_buffers"], settings["work_mem"]) == (shared_buffers, work_mem)
    assert settings["max_parallel_workers"] == str(cores)
    assert not {"fsync", "synchronous_commit", "full_page_writes"} & settings.keys()


def test_logins_are_read_back_from_their_urls() -> None:
    """Port and passwords are kept by the connection file's URLs alone."""
    logins = postgres.Logins(15432, "one", "two")
    assert postgres.Logins.from_urls(logins.database_url, logins.admin_database_url) == logins


def test_taken_port_is_reported_with_its_holder_and_the_remedy() -> None:
    """A person reads which port is taken, by whom, and what to do."""
    with socket.socket() as listener:
        listener.bind((ports.HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PipelinesError, match=rf"port {port} on 127.0.0.1 is in use .*\(pid \d+, .*\); do this"):
            ports.require_free(port, "do this")
    ports.require_free(port, "do this")


def test_servers_of_the_operators_own_are_left_alone(tmp_path: Path) -> None:
    """With URLs of other servers nothing is started and no connection file is written."""
    settings = Settings(
        home=tmp_path / "home", database_url=SecretStr(HOSTILE_URL), redis_url=SecretStr("redis://redis.example:6379")
    )
    assert platform.up(settings) == settings
    assert not list((tmp_path / "home").rglob("*.json"))
    assert platform.down(settings) == []


def test_state_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A state folder that is a file is reported in one line that names the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PipelinesError, match="PIPELINES_HOME"):
        platform.up(Settings(home=tmp_path / "file"))


def test_status_of_nothing_exits_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first `up` the status says that the servers are stopped, and the command fails."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    result = CliRunner().invoke(commands.status)
    assert result.exit_code == 1
    assert result.output.count("stopped") == 5
