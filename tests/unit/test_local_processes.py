"""A managed process is found by what it is, not by its number, and ends with all that it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local.files import write_private
from analytics_pipelines.local.process import ManagedProcess, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STUBBORN = 'sleep 61 & trap "" TERM; echo ready; while true; do sleep 1; done'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ManagedProcess]:
    """Give a process that is stopped at the end, whatever the test did."""
    process = ManagedProcess(tmp_path, "sleeper", "The sleeper")
    yield process
    process.stop(((signal.SIGKILL, 5.0),))


def start(server: ManagedProcess, script: str) -> psutil.Process:
    server.start(["/bin/sh", "-c", script], environment=os.environ, folder=server.home)
    running = server.find()
    assert running is not None
    return running


def test_process_runs_in_its_own_session_and_writes_its_log(server: ManagedProcess) -> None:
    """A server has a session of its own, so that ending the command or its terminal does not end the server."""
    running = start(server, "echo ready; exec sleep 61")
    server.wait_until(lambda: "ready" in server.log.read_text(), 5)
    assert os.getsid(running.pid) == running.pid
    assert server.log.stat().st_mode & 0o777 == 0o600
    assert server.record.stat().st_mode & 0o777 == 0o600


def test_stop_ends_a_process_that_ignores_the_first_signal_and_its_children(server: ManagedProcess) -> None:
    """Stopping goes on to stronger signals, and leaves nothing behind that the server had started."""
    running = start(server, STUBBORN)
    server.wait_until(lambda: "ready" in server.log.read_text(), 5)
    family = [running, *running.children(recursive=True)]
    assert len(family) > 1
    assert server.stop(((signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0)))
    assert not server.record.exists()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_killed_process_is_not_found(server: ManagedProcess) -> None:
    """A process that ended by kill -9 is told from a running one, even before anyone has waited for it."""
    running = start(server, "exec sleep 61")
    running.kill()
    deadline = time.monotonic() + 5
    while server.find() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.find() is None
    assert server.has_died()


@pytest.mark.parametrize("change", [{"seconds_after_boot": 1.0}, {"home": "/somewhere/else"}, {"pid": "no number"}])
def test_record_that_does_not_fit_the_process_is_neither_found_nor_stopped(
    server: ManagedProcess, change: dict[str, object]
) -> None:
    """A number given to another process since, and a record copied from another state folder, are never ours."""
    stranger = start(server, "exec sleep 61")
    server.record.write_text(json.dumps(json.loads(server.record.read_text()) | change))
    assert server.find() is None
    assert not server.stop()
    assert stranger.is_running()
    stranger.kill()


def test_server_is_not_run_when_its_starter_is_killed_before_recording_it(tmp_path: Path) -> None:
    """No server runs without a record: the new process gives up when its starter disappears before writing one."""
    program = (
        "import os, sys; from pathlib import Path; from analytics_pipelines.local import process\n"
        "process.write_private = lambda path, text: os.kill(os.getpid(), 9)\n"
        "home = Path(sys.argv[1])\n"
        "process.ManagedProcess(home, 'touch', 'Touch').start(['touch', home / 'ran'], environment={}, folder=home)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    time.sleep(0.3)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "ran").exists()


def test_process_that_ends_while_starting_is_reported_with_the_reason_from_its_log(server: ManagedProcess) -> None:
    """A person reads in one line why a server did not start, and where to read more."""
    server.start(["/bin/sh", "-c", "echo 'FATAL: out of luck'; echo bye"], environment={}, folder=server.home)
    with pytest.raises(
        PipelinesError, match=r"The sleeper ended while starting: FATAL: out of luck; see .*\.log"
    ) as raised:
        server.wait_until(lambda: False, 5)
    assert "\n" not in str(raised.value)


def test_reason_is_the_line_that_says_why() -> None:
    """The fatal line of a log is found, without its colours; a full disk is named as such."""
    log = 'FATAL:  could not write to file "x": No space left on device\nLOG:  database system is shut down\n'
    assert reason(log).startswith("no space is left on the disk (FATAL:")
    assert reason("\x1b[31mdagster - Error: no workspace\x1b[0m\nbye") == "dagster - Error: no workspace"
    assert reason("") == "it printed nothing"


def test_private_file_is_replaced_whole_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    """A secret is never readable by others, also when the file was before, and no draft is left."""
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]
