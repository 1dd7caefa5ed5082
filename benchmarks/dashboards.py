"""What dashboards cost: each of `dashboards.sql` with pgbench, as a login that row security keeps to its tenant.

A million simulated events, ten million with `BENCH_FULL=1`, and a tenth as many of another tenant, which the login
does not see. The baseline is the same by the tables' owner, without row security.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from analytics_pipelines import connections
from analytics_pipelines.local import accounts, platform
from analytics_pipelines.settings import Settings
from analytics_pipelines.warehouse import access
from benchmarks.demo import PIPELINES
from benchmarks.measure import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 10_000_000 if os.environ.get("BENCH_FULL") else 1_000_000
SQL = Path(__file__).with_name("dashboards.sql")
CLIENTS = 4
WARM_SECONDS = 10
SECONDS = 30
LIMIT_MILLISECONDS = 50
LEAST_RATE = 400


def figures() -> Iterator[Figure]:
    """Yield the figures of the dashboards, on a platform of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        environment = {**os.environ, "PIPELINES_HOME": folder, "PIPELINES_DEMO": "false"}
        for name in ("PIPELINES_DATABASE_URL", "PIPELINES_REDIS_URL"):
            environment.pop(name, None)
        try:
            for arguments in (
                ("up",),
                ("simulate", "--events", str(EVENTS), "--seed", "1", "--tenant", "saas"),
                ("simulate", "--events", str(EVENTS // 10), "--seed", "2", "--tenant", "other"),
                ("build",),
            ):
                subprocess.run([PIPELINES, *arguments], env=environment, check=True, capture_output=True)
            yield from figures_of(platform.up(Settings(home=Path(folder))))
        finally:
            platform.down(Settings(home=Path(folder)))


def figures_of(settings: Settings) -> Iterator[Figure]:
    """Yield the figures of a warehouse that has been built."""
    owner = connections.database_url(settings)
    url = urlsplit(owner)
    password = access.create(settings, "dashboards", ["saas"], access.Limits(connections=CLIENTS + 1))
    reader = url._replace(netloc=f"dashboards:{password}@{url.hostname}:{url.port}").geturl()
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        for name, query in queries().items():
            Path(folder, f"{name}.sql").write_text(query, encoding="utf-8")
        theirs, _ = _run(owner, Path(folder))
        ours, rate = _run(reader, Path(folder))
    for name, milliseconds in ours.items():
        kept = milliseconds <= LIMIT_MILLISECONDS
        baseline = f"without row security {theirs[name]:.1f} ms"
        ratio = milliseconds / theirs[name]
        limit = f"<= {LIMIT_MILLISECONDS} ms"
        yield Figure(f"dashboard {name}, p95", f"{milliseconds:.1f} ms", baseline, ratio, limit, kept)
    what = f"all {len(ours)} dashboards in turns, {CLIENTS} clients"
    yield Figure(what, f"{rate:,.0f}/s", "", None, f">= {LEAST_RATE}/s", rate >= LEAST_RATE)


def queries() -> dict[str, str]:
    """Return the statements of `dashboards.sql` by name, each with the lines that draw its parameters."""
    parts = re.split(r"^-- name: (\w+)\n", SQL.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _run(url: str, folder: Path) -> tuple[dict[str, float], float]:
    """Run all statements in turns, warm; return the p95 of each in milliseconds, and how many ran in a second."""
    files = sorted(folder.glob("*.sql"))
    scripts = [f"--file={file}" for file in files]
    pgbench = [str(accounts.reachable_binaries(None) / "pgbench"), "--no-vacuum", f"--client={CLIENTS}", "--jobs=2"]
    subprocess.run([*pgbench, f"--time={WARM_SECONDS}", *scripts, url], check=True, capture_output=True)
    logged = (f"--time={SECONDS}", "--log", f"--log-prefix={folder / 'times'}")
    subprocess.run([*pgbench, *logged, *scripts, url], check=True, capture_output=True)
    times: dict[str, list[float]] = {file.stem: [] for file in files}
    for log in folder.glob("times*"):
        for line in log.read_text(encoding="ascii").splitlines():
            # The client, the number of its transaction, its microseconds, and the number of the script.
            _, _, microseconds, script, *_ = line.split()
            times[files[int(script)].stem].append(int(microseconds) / 1000)
        log.unlink()
    total = sum(map(len, times.values()))
    return {name: statistics.quantiles(found, n=20)[-1] for name, found in times.items()}, total / SECONDS
