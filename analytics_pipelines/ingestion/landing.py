"""The landing folder: what is put there is ingested, once.

Defines which files wait, and what becomes of them. `<landing>/<tenant>/<file>` is ingested for that tenant and then
moved to `done/` beside it, or to `failed/` with the reason in a file of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult
from analytics_pipelines.ingestion.files import SUFFIXES, FileChangedError, ingest_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg_pool import ConnectionPool

QUIET_SECONDS = 5.0
"""A file that was written to this recently may not be complete yet."""


@dataclass
class Landed:
    """What one look into the folder brought: events by tenant, and the files that failed with the reason."""

    events: dict[str, BatchResult] = field(default_factory=dict)
    files: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def waiting(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield tenant and path of each complete file that waits, by name.

    Hidden files, files of other kinds (a half-sent `orders.jsonl.part`) and files still being written are left alone.
    """
    if not folder.is_dir():
        return
    newest = time.time() - QUIET_SECONDS
    for tenant in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in sorted(tenant.iterdir()):
            is_ours = not path.name.startswith(".") and path.name.endswith(SUFFIXES)
            if is_ours and path.is_file() and _written_at(path) <= newest:
                yield tenant.name, path


def ingest_waiting(pool: ConnectionPool, folder: Path) -> Landed:
    """Ingest every file that waits and move it out of the way; a file that fails does not stop the others."""
    landed = Landed()
    for tenant_id, path in waiting(folder):
        written_at = _written_at(path)
        try:
            result = ingest_file(pool, tenant_id, path)
        except FileChangedError:
            continue  # still being written: it is looked at again, and what was taken already is known by then
        except PipelinesError as error:
            if not path.exists():
                continue  # another run took it
            landed.files += 1
            landed.failed[f"{tenant_id}/{path.name}"] = str(error)
            moved = _move(path, "failed")
            moved.with_name(moved.name + ".reason.txt").write_text(f"{error}\n", encoding="utf-8")
        else:
            landed.files += 1
            landed.events[tenant_id] = landed.events.get(tenant_id, BatchResult()) + result
            if _written_at(path) == written_at:
                _move(path, "done")
    return landed


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # taken away by its sender, or by another run, a moment ago
        return float("inf")


def _move(path: Path, name: str) -> Path:
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    number = 1
    while target.exists():  # an earlier file of the same name keeps its place
        number += 1
        target = folder / f"{number}-{path.name}"
    return path.rename(target)
