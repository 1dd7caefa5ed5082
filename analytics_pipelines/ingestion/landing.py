"""The landing folder: what is put there is ingested, once.

Defines which files wait, and what becomes of them. `<landing>/<tenant>/<file>` is ingested for that tenant and then
moved to `done/` beside it, or to `failed/` with the reason in a file of its own. Rows become events by
`<file>.mapping.yaml` beside the file, those of CSV and Parquet also by `<landing>/<tenant>/mapping.yaml`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult
from analytics_pipelines.event_log.encryption import MasterKeyError
from analytics_pipelines.ingestion.files import FileChangedError, ingest_file
from analytics_pipelines.ingestion.formats import KINDS, NEEDS_MAPPING, SUFFIXES, kind_of
from analytics_pipelines.ingestion.once import PartlyReadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg_pool import ConnectionPool

MAPPING = "mapping.yaml"
UNDERWAY = (".part", ".tmp")
"""Endings of files that are still being written."""
DONE, FAILED = "done", "failed"
"""The folders beside the files, into which these are moved."""
REASON = ".reason.txt"
QUIET_SECONDS = 5.0
"""A file that was written to this recently may not be complete yet."""


@dataclass
class Landed:
    """What one look into the folder brought.

    Attributes:
        events: what became of the events, by tenant.
        files: how many files were taken.
        failed: the files that could not be read, with the reason.
        ignored: the files and folders that stay where they are, with the reason.
    """

    events: dict[str, BatchResult] = field(default_factory=dict)
    files: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)

    def count(self, tenant_id: str, result: BatchResult) -> None:
        """Add what became of a tenant's events."""
        self.events[tenant_id] = self.events.get(tenant_id, BatchResult()) + result


def waiting(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield tenant and path of each complete file that waits, by name.

    Hidden files, files of other kinds (a half-sent `orders.jsonl.part`) and files still being written are left alone.
    """
    newest = time.time() - QUIET_SECONDS
    for tenant_id, path in _files(folder):
        if path.name.endswith(SUFFIXES) and _written_at(path) <= newest:
            yield tenant_id, path


def ignored(folder: Path) -> dict[str, str]:
    """Return what is never taken as it is, with the reason: files of no tenant or of no kind read here, and folders."""
    astray = [path for path in _visible(folder) if path.is_file()] if folder.is_dir() else []
    kinds = {
        f"{tenant_id}/{path.name}": f"it ends in none of {', '.join(KINDS)}, each also .gz or .zst"
        for tenant_id, path in _files(folder)
        if not path.name.endswith((*SUFFIXES, *UNDERWAY, f".{MAPPING}")) and path.name != MAPPING
    }
    deeper = {
        f"{tenant.name}/{path.name}/": f"it is a folder; move its files into {tenant.name}/"
        for tenant in (_visible(folder) if folder.is_dir() else ())
        for path in (_visible(tenant) if tenant.is_dir() else ())
        if path.is_dir() and path.name not in {DONE, FAILED} and any(path.iterdir())
    }
    return {path.name: "it is in no tenant's folder; move it into <tenant>/" for path in astray} | kinds | deeper


def failed(folder: Path) -> dict[str, str]:
    """Return the files that could not be read and were not taken away since, with the reason."""
    reasons = sorted(folder.glob(f"*/{FAILED}/*{REASON}")) if folder.is_dir() else []
    return {
        f"{path.parent.parent.name}/{FAILED}/{path.name.removesuffix(REASON)}": path.read_text(encoding="utf-8").strip()
        for path in reasons
        if path.with_name(path.name.removesuffix(REASON)).exists()
    }


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        return
    for tenant in _visible(folder):
        for path in _visible(tenant) if tenant.is_dir() else ():
            if path.is_file():
                yield tenant.name, path


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def ingest_waiting(pool: ConnectionPool, folder: Path) -> Landed:
    """Ingest every file that waits and move it out of the way; a file that fails does not stop the others.

    Raises:
        MasterKeyError: a file needs the master key, and it is missing or another one; such files stay where they are.
    """
    landed = Landed(ignored=ignored(folder))
    locked: MasterKeyError | None = None
    for tenant_id, path in waiting(folder):
        written_at = _written_at(path)
        try:
            result = ingest_file(pool, tenant_id, path, _mapping_of(path))
        except MasterKeyError as error:
            locked = error
        except PipelinesError as error:
            if isinstance(error, PartlyReadError):
                landed.count(tenant_id, error.result)
            # Still being written: it is looked at again, and what was taken is known by then. Or another run took it.
            if isinstance(error.__cause__ or error, FileChangedError) or not path.exists():
                continue
            landed.files += 1
            landed.failed[f"{tenant_id}/{path.name}"] = str(error)
            moved = _move(path, FAILED)
            moved.with_name(moved.name + REASON).write_text(f"{error}\n", encoding="utf-8")
        else:
            landed.files += 1
            landed.count(tenant_id, result)
            if _written_at(path) != written_at:
                continue  # it is another file by now, and is looked at again
            if result.erased:  # no readable copy is kept; the log has the events of the others
                path.unlink(missing_ok=True)
            else:
                _move(path, DONE)
    if locked is not None:
        raise locked
    return landed


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # taken away by its sender, or by another run, a moment ago
        return float("inf")


def _mapping_of(path: Path) -> Path | None:
    own = path.with_name(f"{path.name}.{MAPPING}")
    if own.exists():
        return own
    of_tenant = path.with_name(MAPPING)
    return of_tenant if kind_of(path) in NEEDS_MAPPING and of_tenant.exists() else None


def _move(path: Path, name: str) -> Path:
    """Move a file, with the mapping of its own, into a folder beside it."""
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    number = 1
    while target.exists():  # an earlier file of the same name keeps its place
        number += 1
        target = folder / f"{number}-{path.name}"
    own = path.with_name(f"{path.name}.{MAPPING}")
    if own.exists():
        own.rename(target.with_name(f"{target.name}.{MAPPING}"))
    return path.rename(target)
