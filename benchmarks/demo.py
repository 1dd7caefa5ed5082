"""What the demo costs: a cold build against a bare script, a build with nothing new, start-up times, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings
from benchmarks import bare
from benchmarks.measure import Figure, median_seconds, peak_megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

PIPELINES = str(Path(sys.executable).parent / "pipelines")


def figures() -> Iterator[Figure]:
    """Yield the figures of the demo, on a platform of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        environment = {**os.environ, "PIPELINES_HOME": folder}
        for name in ("PIPELINES_DATABASE_URL", "PIPELINES_REDIS_URL"):
            environment.pop(name, None)
        subprocess.run([PIPELINES, "up"], env=environment, check=True, capture_output=True)
        settings = Settings(home=Path(folder))
        try:
            yield from _builds(settings, environment)
        finally:
            platform.down(settings)
    yield from _starts(environment)


def _builds(settings: Settings, environment: dict[str, str]) -> Iterator[Figure]:
    cold = _build(environment)
    url = _bare_database(settings)
    compiled = next((settings.home / "dbt").glob("*/compiled"))
    baseline = seconds(lambda: bare.build(url, compiled))
    ratio = cold["seconds"] / baseline
    yield Figure(
        "cold build of the demo",
        f"{cold['seconds']:.1f} s",
        f"bare script {baseline:.1f} s",
        ratio,
        "<= 60 s, <= 5x",
        ratio <= 5 and cold["seconds"] <= 60,
    )
    slowest = sorted(cold["assets"], key=lambda asset: -asset["seconds"])[:8]
    for asset in slowest:
        yield Figure(f"  of which {asset['asset']}", f"{asset['seconds']:.1f} s", "")
    again = _build(environment)["seconds"]
    yield Figure(
        "build with nothing new",
        f"{again:.1f} s",
        f"cold build {cold['seconds']:.1f} s",
        again / cold["seconds"],
        "<= 15 s",
        again <= 15,
    )
    peak = peak_megabytes()
    yield Figure("peak memory of one process", f"{peak:.0f} MB", "", None, "<= 1024 MB", peak <= 1024)


def _starts(environment: dict[str, str]) -> Iterator[Figure]:
    python = median_seconds([sys.executable, "-c", "pass"], environment)
    dagster = median_seconds([sys.executable, "-c", "import dagster"], environment)
    location = median_seconds([sys.executable, "-c", "import analytics_pipelines.definitions"], environment)
    yield Figure(
        "import of the code location",
        f"{location:.2f} s",
        f"import dagster {dagster:.2f} s",
        location / dagster,
        "<= 3 s",
        location <= 3,
    )
    usage = median_seconds([PIPELINES, "--help"], environment)
    yield Figure(
        "pipelines --help", f"{usage:.2f} s", f"python -c pass {python:.2f} s", usage / python, "<= 0.5 s", usage <= 0.5
    )


def _build(environment: dict[str, str]) -> dict[str, object]:
    done = subprocess.run([PIPELINES, "build", "--json"], env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def _bare_database(settings: Settings) -> str:
    admin = urlsplit(connections.admin_url(settings))
    with psycopg.connect(urlunsplit(admin), autocommit=True) as connection:
        connection.execute("create database bare")
    url = urlunsplit(admin._replace(path="/bare"))
    migrations.migrate(
        settings.model_copy(
            update={
                "admin_database_url": SecretStr(url),
                "database_url": SecretStr(
                    urlunsplit(urlsplit(connections.database_url(settings))._replace(path="/bare"))
                ),
            }
        )
    )
    return url
