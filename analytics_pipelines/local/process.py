"""A server process that outlives the command that started it.

Defines `ManagedProcess`: start in a session of its own with a log, find again by a record, stop. The record is believed
only when the process it names was started at the very moment it names, for this very state folder: a number that the
system has given to another process since, or a record copied from another folder, is never taken for ours. Which
command is run, and when it is ready, belongs into the module of the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NoReturn, cast

import psutil

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local.files import OWNER_ONLY, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from pwd import struct_passwd

POLL_SECONDS = 0.02
# The system counts a process's start in hundredths of a second.
_START_TOLERANCE_SECONDS = 0.05
_CHILDREN_SECONDS = 5.0
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# A line says go; the end of the input, because the starting process was killed, says give up.
_WAIT_THEN_RUN = ("/bin/sh", "-c", 'read -r line && exec "$@" </dev/null', "sh")

# The servers that this very process started, kept to be reaped when they end: a dead child that nobody has waited for
# still has its number.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class ManagedProcess:
    """One server of one state folder.

    Attributes:
        home: the state folder.
        name: the server's name, in file names.
        title: the server's name, in messages.
    """

    home: Path
    name: str
    title: str

    @property
    def record(self) -> Path:
        """The file that says which process the server is."""
        return self.home / "run" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What the server prints, since its last start."""
        return self.home / "logs" / f"{self.name}.log"

    def find(self) -> psutil.Process | None:
        """Find the running server, or None: never started, ended, or its number now belongs to another process."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            drift = abs(_seconds_after_boot(process) - record["seconds_after_boot"])
        except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
            return None
        ours = record.get("home") == str(self.home) and drift < _START_TOLERANCE_SECONDS
        return process if ours and is_alive(process) else None

    def has_died(self) -> bool:
        """Tell whether the server ended without being stopped."""
        return self.record.exists() and self.find() is None

    def start(
        self,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        folder: Path,
        account: struct_passwd | None = None,
    ) -> None:
        """Start the server in a session of its own; its log begins anew, the last one is kept as `.1`.

        The new process waits until it is recorded, so that no server runs without a record, whoever is killed when.

        Args:
            command: the program and its arguments.
            environment: all of the server's environment variables.
            folder: its working folder.
            account: the system user it runs as; this process's user when None.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
        try:
            child = subprocess.Popen(  # noqa: S603 - the caller's own command, run as it stands
                [*_WAIT_THEN_RUN, *(str(part) for part in command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
                umask=0o077,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        finally:
            os.close(log)
        _started.append(child)
        process = psutil.Process(child.pid)
        record = {"pid": process.pid, "seconds_after_boot": _seconds_after_boot(process), "home": str(self.home)}
        # A process that has ended already is no reason to fail here: whoever waits for it finds out why.
        with contextlib.suppress(BrokenPipeError), cast("IO[bytes]", child.stdin) as gate:
            write_private(self.record, json.dumps(record))
            gate.write(b"go\n")

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for the server to be ready.

        Raises:
            PipelinesError: it ended, or was not ready in time; the line gives the reason from its log.
        """
        for _ in _polls(seconds):
            if ready():
                return
            if self.find() is None:
                self.fail("ended while starting")
        self.fail(f"was not ready after {seconds:.0f} seconds")

    def fail(self, what: str) -> NoReturn:
        """Raise the error that says what happened to the server, with the reason from its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        raise PipelinesError(f"{self.title} {what}: {reason(text)}; see {self.log}")

    def stop(
        self, signals: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
    ) -> bool:
        """Stop the server and the processes it started.

        Args:
            signals: what is sent, one after the other, and the seconds each is given.

        Returns:
            Whether it was running.

        Raises:
            PipelinesError: it is still there after the last signal.
        """
        process = self.find()
        if process is None:
            self.record.unlink(missing_ok=True)
            return False
        family = process.children(recursive=True)
        if not end([process], signals):
            raise PipelinesError(f"{self.title} (pid {process.pid}) does not end; see {self.log}")
        end(family, ((signal.SIGTERM, _CHILDREN_SECONDS), (signal.SIGKILL, _CHILDREN_SECONDS)))
        self.record.unlink(missing_ok=True)
        return True


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process is still this one and runs: one that ended but was not waited for does not."""
    for child in _started:
        child.poll()
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Sequence[psutil.Process], signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal in turn to those processes that are still there; return whether all have ended."""
    for number, seconds in signals:
        for process in processes:
            if is_alive(process):
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
        for _ in _polls(seconds):
            if not any(is_alive(process) for process in processes):
                return True
    return False


def reason(log: str) -> str:
    """Find the line of a log that says why a program failed: the last fatal one, or else the last one."""
    lines = [line.strip() for line in _COLOUR.sub("", log).splitlines() if line.strip()]
    fatal = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:", "Error:"))]
    line = (fatal or lines or ["it printed nothing"])[-1]
    if "No space left on device" in log:
        return f"no space is left on the disk ({line})"
    return line


def _polls(seconds: float) -> Iterator[None]:
    """Yield at once, then every few milliseconds until the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _seconds_after_boot(process: psutil.Process) -> float:
    """Tell when a process was started, by a clock that nobody sets: correcting the time moves both terms."""
    while True:
        boot = psutil.boot_time()
        seconds = psutil.Process(process.pid).create_time() - boot
        if psutil.boot_time() == boot:  # it was not corrected between the two readings
            return seconds
