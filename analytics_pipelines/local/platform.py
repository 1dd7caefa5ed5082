"""The local platform as a whole: up, down and status of one state folder.

Defines which servers run, in which order they start and stop, and the connection file that remembers their ports and
passwords. A server that the settings name by a URL of the operator's own is used as it is, neither started nor stopped.
How a single server works belongs into its module.
"""

from __future__ import annotations

import base64
import errno
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from pydantic import SecretStr

from analytics_pipelines.connections import CONNECT_SECONDS, RUNTIME_OPTIONS
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import dagster, docs, ports, postgres, redis
from analytics_pipelines.local.files import OWNER_ONLY, write_private
from analytics_pipelines.settings import CONNECTION_FILE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from analytics_pipelines.local.process import ManagedProcess
    from analytics_pipelines.settings import Settings

LOCK_SECONDS = 300.0

State = Literal["running", "stopped", "died", "unreachable"]

# What a person can put right about a file, as opposed to a mistake of ours.
_FILE_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "set PIPELINES_HOME to a folder of yours",
    errno.EPERM: "set PIPELINES_HOME to a folder of yours",
    errno.EROFS: "set PIPELINES_HOME to a folder that can be written",
    errno.EEXIST: "set PIPELINES_HOME to a folder",
    errno.ENOTDIR: "set PIPELINES_HOME to a folder",
}


@dataclass(frozen=True)
class ServerStatus:
    """One server, as it is now.

    Attributes:
        state: running; stopped: not started or stopped by us; died: ended without being stopped; unreachable: does
            not take connections.
        embedded: whether this platform starts and stops it, as opposed to a server of the operator's own.
        required: whether something is wrong unless it runs.
        address: host and port; None when it has none.
        pid: its process, when it is ours and runs.
        since: when that process was started, UTC.
        log: the file with what it prints.
    """

    state: State
    embedded: bool
    required: bool
    address: str | None
    pid: int | None = None
    since: datetime | None = None
    log: str | None = None


@dataclass(frozen=True)
class PlatformStatus:
    """The platform of one state folder, as it is now.

    Attributes:
        home: the state folder.
        servers: by name: postgres, redis, webserver, daemon, docs.
        writers: the transactions that hold the log's settled position back, oldest first: pid, application, seconds
            and query of each; None when the database cannot be asked.
    """

    home: str
    servers: dict[str, ServerStatus]
    writers: list[dict[str, Any]] | None = None

    @property
    def is_healthy(self) -> bool:
        """Whether everything that should run does."""
        return all(server.state == "running" or not server.required for server in self.servers.values())

    def as_json(self) -> dict[str, Any]:
        """Give the same as plain values; times in ISO 8601."""
        values = asdict(self)
        for server in values["servers"].values():
            server["since"] = server["since"] and server["since"].isoformat()
        return values


def up(settings: Settings, *, ui: bool = False) -> Settings:
    """Start what is not running; what runs is kept.

    Args:
        settings: their `home` is the state folder.
        ui: start Dagster's webserver and daemon, and the server of dbt's documentation, too.

    Returns:
        The settings with the URLs of the embedded servers filled in.

    Raises:
        PipelinesError: a server does not start; the line says why and what to do.
    """
    with _locked(settings.home):
        known = _read_connections(settings.home)
        embedded = _embedded(settings, known)
        urls = dict(known)
        if embedded["redis"] and "redis_url" not in urls:
            urls["redis_url"] = redis.Login.choose().url
        if embedded["postgres"] and not {"database_url", "admin_database_url"} <= urls.keys():
            logins = postgres.Logins.choose()
            urls |= {"database_url": logins.database_url, "admin_database_url": logins.admin_database_url}
        if ui and embedded["docs"] and "docs_url" not in urls:
            urls["docs_url"] = docs.choose_url()
        if urls != known:
            write_private(settings.home / CONNECTION_FILE, json.dumps(urls, indent=2) + "\n")
        settings = settings.model_copy(update={name: SecretStr(url) for name, url in _used(embedded, urls).items()})
        if embedded["docs"]:
            settings = settings.model_copy(update={"docs_url": urls.get("docs_url")})
        dagster.prepare(settings.home)
        settings.landing.mkdir(parents=True, exist_ok=True)
        ensure_master_key(settings)
        if embedded["redis"]:
            redis.start(settings.home, redis.Login.from_url(urls["redis_url"]))
        if embedded["postgres"]:
            logins = postgres.Logins.from_urls(urls["database_url"], urls["admin_database_url"])
            postgres.start(settings.home, logins)
        if ui:
            if embedded["docs"]:
                docs.start(settings.home, settings.docs, urls["docs_url"])
            dagster.start(settings)
        return settings


def ensure_master_key(settings: Settings) -> None:
    """Make the key that personal data hang on, once, unless the settings name one. It is never written over."""
    if settings.master_key is None and not settings.master_keys_path.exists():
        write_private(settings.master_keys_path, f"1:{base64.b64encode(os.urandom(32)).decode()}\n")


def down(settings: Settings) -> list[str]:
    """Stop the state folder's own servers: the UI and the daemon first, Postgres last.

    Returns:
        The names of the servers that were running.

    Raises:
        PipelinesError: one of them does not end.
    """
    if not settings.home.exists():
        return []
    home = settings.home
    with _locked(home):
        stopped = {
            "webserver": dagster.webserver(home).stop(),
            "daemon": dagster.daemon(home).stop(),
            "docs": docs.server(home).stop(),
            "redis": redis.server(home).stop(),
            "postgres": postgres.stop(home),
        }
    return [name for name, was_running in stopped.items() if was_running]


def status(settings: Settings) -> PlatformStatus:
    """Look at every server; nothing is started or changed."""
    home = settings.home
    known = _read_connections(home)
    embedded = _embedded(settings, known)
    ui = f"{ports.HOST}:{dagster.ui_port(settings)}"
    servers = {
        "postgres": _look(postgres.server(home), known.get("database_url"))
        if embedded["postgres"]
        else _look_at_foreign(settings.database_url),
        "redis": _look(redis.server(home), known.get("redis_url"))
        if embedded["redis"]
        else _look_at_foreign(settings.redis_url),
        "webserver": _look(dagster.webserver(home), f"http://{ui}", optional=True),
        "daemon": _look(dagster.daemon(home), None, optional=True),
        "docs": _look(docs.server(home), known.get("docs_url"), optional=True),
    }
    url = settings.database_url.get_secret_value() if settings.database_url else known.get("database_url")
    writers = _open_writers(url) if url and servers["postgres"].state == "running" else None
    return PlatformStatus(str(home), servers, writers)


def _open_writers(url: str) -> list[dict[str, Any]] | None:
    """Ask the log who holds it back; None when it does not answer, or has no schema yet."""
    import psycopg
    from psycopg.rows import dict_row

    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS, options=RUNTIME_OPTIONS) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            return cursor.execute("select pid, application, seconds, query from event_log.open_writers()").fetchall()
    except psycopg.Error:
        return None


def _embedded(settings: Settings, known: dict[str, str]) -> dict[str, bool]:
    """Say which servers are ours: those that the settings do not name, or name as the connection file does."""
    return {
        "postgres": settings.database_url is None
        or settings.database_url.get_secret_value() == known.get("database_url"),
        "redis": settings.redis_url is None or settings.redis_url.get_secret_value() == known.get("redis_url"),
        "docs": settings.docs_url is None or settings.docs_url == known.get("docs_url"),
    }


def _used(embedded: dict[str, bool], urls: dict[str, str]) -> dict[str, str]:
    names = ["redis_url"] if embedded["redis"] else []
    names += ["database_url", "admin_database_url"] if embedded["postgres"] else []
    return {name: urls[name] for name in names}


def _read_connections(home: Path) -> dict[str, str]:
    """Read the URLs of the embedded servers; none when there is no file yet.

    Raises:
        PipelinesError: the file is not what `up` wrote.
    """
    path = home / CONNECTION_FILE
    try:
        urls: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        if "redis_url" in urls:
            redis.Login.from_url(urls["redis_url"])
        if "database_url" in urls:
            postgres.Logins.from_urls(urls["database_url"], urls["admin_database_url"])
        if "docs_url" in urls:
            docs.port(urls["docs_url"])
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PipelinesError(
            f"{path} cannot be read ({error}); remove it: `pipelines up` writes it anew, the data are kept"
        ) from None
    return urls


def _look(process: ManagedProcess, url: str | None, *, optional: bool = False) -> ServerStatus:
    running = process.find()
    parts = urlsplit(url) if url else None
    died = process.has_died()
    state: State = "died" if died else "stopped"
    if running:
        state = "running" if parts is None or parts.port is None or ports.answers(parts.port) else "unreachable"
    return ServerStatus(
        state=state,
        embedded=True,
        required=not optional or died or running is not None,
        address=f"{parts.hostname}:{parts.port}" if parts else None,
        pid=running.pid if running else None,
        since=datetime.fromtimestamp(running.create_time(), UTC) if running else None,
        log=str(process.log) if process.log.exists() else None,
    )


def _look_at_foreign(url: SecretStr | None) -> ServerStatus:
    parts = urlsplit(url.get_secret_value() if url else "")
    host, port = parts.hostname or "localhost", parts.port or {"redis": 6379, "rediss": 6379}.get(parts.scheme, 5432)
    state: State = "running" if ports.answers(port, host) else "unreachable"
    return ServerStatus(state=state, embedded=False, required=True, address=f"{host}:{port}")


@contextmanager
def _locked(home: Path) -> Generator[None]:
    """Hold the state folder, made when missing: one `up` or `down` at a time."""
    try:
        # As root the server's user must be able to pass through; every file with a secret in it is closed by itself.
        home.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        with FileLock(home / "lock", timeout=LOCK_SECONDS, mode=OWNER_ONLY):
            yield
    except Timeout:
        raise PipelinesError(f"another `pipelines up` or `down` holds {home / 'lock'}; wait for it or end it") from None
    except OSError as error:
        if error.errno not in _FILE_REMEDIES:
            raise
        where = error.filename or home
        raise PipelinesError(f"{where}: {error.strerror}; {_FILE_REMEDIES[error.errno]}") from None
