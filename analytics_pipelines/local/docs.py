"""The server of dbt's documentation: a browser follows no link from the Dagster UI to a file of this machine.

Defines at which address it serves, how it is started and when it is ready. It serves one folder, on 127.0.0.1 only.
What is in the folder is written by the asset `reports/dbt_docs`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from analytics_pipelines.local import ports
from analytics_pipelines.local.process import ManagedProcess

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 60.0


def choose_url() -> str:
    """Choose the address, with a free port; chosen once, kept in the connection file."""
    return f"http://{ports.HOST}:{ports.choose_port()}/"


def port(url: str) -> int:
    """Read the port back from `url`."""
    number = urlsplit(url).port
    if number is None:
        raise ValueError("a URL without port")
    return number


def server(home: Path) -> ManagedProcess:
    """Name the state folder's process that serves the documentation."""
    return ManagedProcess(home, "docs", "The server of dbt's documentation")


def start(home: Path, folder: Path, url: str) -> None:
    """Start serving the folder at `url`, or attach to the running server; it answers when this returns.

    Raises:
        PipelinesError: its port is taken, or it does not start.
    """
    process, number = server(home), port(url)
    running = process.find()
    if running and str(number) not in running.cmdline():
        process.stop()  # the connection file was removed meanwhile, and made anew
    if process.find() is None:
        folder.mkdir(exist_ok=True)
        ports.require_free(number, ports.NEW_PORTS.format(home=home))
        # Isolated: no module that lies in the working folder is taken for one of Python's own.
        command = [sys.executable, "-I", "-m", "http.server", str(number), "--bind", ports.HOST, "--directory", folder]
        process.start(command, environment=os.environ, folder=folder)
    process.wait_until(lambda: ports.answers(number), START_SECONDS)
