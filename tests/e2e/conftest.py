"""The demo as a newcomer has it: built once by the commands of the README, with the UI and the daemon running."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines import connections
from analytics_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

PIPELINES = str(Path(sys.executable).parent / "pipelines")


@dataclass
class Demo:
    """A running demo platform: its state folder, its UI, and the first build's report."""

    home: Path
    url: str
    first_build: dict[str, Any]
    environment: dict[str, str]

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a `pipelines` command, expect its exit code, and return what it printed; its errors only if it failed."""
        done = subprocess.run(
            [PIPELINES, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a `pipelines` command and leave it running."""
        return subprocess.Popen([PIPELINES, *arguments], env=self.environment, stderr=subprocess.DEVNULL)

    def unfinished_runs(self) -> list[str]:
        """Return the statuses of Dagster's runs that have not ended, as the UI's GraphQL tells them."""
        statuses = "[QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]"
        query = f"{{ runsOrError(filter: {{statuses: {statuses}}}) {{ ... on Runs {{ results {{ status }} }} }} }}"
        request = urllib.request.Request(  # noqa: S310 - the demo on loopback
            f"{self.url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - the same
            return [run["status"] for run in json.load(answer)["data"]["runsOrError"]["results"]]

    def build(self) -> dict[str, Any]:
        """Build what is stale, and return the report."""
        return json.loads(self.run("build", "--json"))


_running: list[Demo] = []


@pytest.hookimpl(trylast=True)  # after the fixtures of the test
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Stop the demo with the last of these tests: it would go on looking for work beside all others."""
    if nextitem is None or not nextitem.nodeid.startswith("tests/e2e/"):
        while _running:
            _running.pop().run("down")


@pytest.fixture(scope="session")
def demo(_no_settings_from_outside: None) -> Iterator[Demo]:
    """The demo, built from nothing by `pipelines up --ui` and `build`, in a state folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="pipelines-demo-"))
    folder.chmod(0o711)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PIPELINES_HOME": str(folder), "PIPELINES_UI_PORT": str(port)}
    started = Demo(folder, f"http://127.0.0.1:{port}", {}, environment)
    _running.append(started)
    try:
        started.run("up", "--ui")
        started.first_build = started.build()
        yield started
    finally:
        if started in _running:
            started.run("down")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def demo_pool(demo: Demo) -> Iterator[ConnectionPool]:
    """A pool of runtime sessions to the demo's database."""
    with connections.open_pool(Settings(home=demo.home)) as pool:
        yield pool
