"""Readable copies of events outside the log: which of them name a person, and forgetting those.

Defines how an erased subject is found in what was sent - refused events, landed files - and what becomes of the files.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pydantic import JsonValue

PARQUET_ROWS = 10_000
REASON = ".reason.txt"


@dataclass(frozen=True)
class Named:
    """A subject as events name it.

    Attributes:
        subject: `lead-42`, which is also its stream.
        identifier: `42`.
        fields: the fields that identify such a subject: `lead_id`.
    """

    subject: str
    identifier: str
    fields: frozenset[str]

    def stands_in(self, content: bytes) -> bool:
        """Tell whether bytes name the subject. What is no JSON does when the identifier stands in it as a word."""
        if b"\\u" not in content and self._bytes not in content:
            return False
        try:
            return self._is_in(json.loads(content))
        except (ValueError, RecursionError):
            return self._word.search(content.decode("utf-8", "replace")) is not None

    @cached_property
    def _bytes(self) -> bytes:
        return self.identifier.encode("utf-8", "replace")

    @cached_property
    def _word(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w-]){re.escape(self.identifier)}(?![\w-])|{re.escape(self.subject)}(?![\w-])")

    def _is_in(self, value: JsonValue) -> bool:
        if isinstance(value, str):
            if value == self.subject:
                return True
            return value.lstrip()[:1] == "{" and self.identifier in value and self.stands_in(value.encode())
        if isinstance(value, dict):
            return any(
                (name in self.fields and str(item) == self.identifier) or self._is_in(item)
                for name, item in value.items()
            )
        return isinstance(value, list) and any(self._is_in(item) for item in value)


def forget_files(landing: Path, named: Named) -> dict[str, list[str]]:
    """Delete a tenant's landed files that name a subject, and say what became of which.

    A file under `done/` is in the log, so that nothing is lost. One under `failed/` is deleted too and is to be sent
    again without the person. Files that still wait are left: what they say of the subject is refused when
    they are read.

    Returns:
        Paths of files: `deleted`; `failed_deleted`, to be sent again; `waiting`; `unreadable`, to be looked at.
    """
    found: dict[str, list[str]] = {"deleted": [], "failed_deleted": [], "waiting": [], "unreadable": []}
    if not landing.is_dir():
        return found
    for path in sorted(landing.rglob("*")):
        if not path.is_file() or path.name.endswith(REASON):
            continue
        try:
            is_named = any(named.stands_in(line) for line in _records(path))
        except Exception:  # noqa: BLE001 - whatever a reader of compressed or columnar files raises
            found["unreadable"].append(str(path))
            continue
        if not is_named:
            continue
        if path.parent == landing:
            found["waiting"].append(str(path))
            continue
        path.unlink(missing_ok=True)
        path.with_name(path.name + REASON).unlink(missing_ok=True)
        found["failed_deleted" if "failed" in path.relative_to(landing).parts else "deleted"].append(str(path))
    return found


def _records(path: Path) -> Iterable[bytes]:
    return _parquet_records(path) if path.name.endswith(".parquet") else _lines(path)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, also a compressed one, in bounded memory."""
    import pyarrow as pa

    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)
    with pa.input_stream(str(path), compression=compression) as stream:
        yield from BufferedReader(stream)  # pyright: ignore[reportUnknownArgumentType] - pyarrow has no types


def _parquet_records(path: Path) -> Iterator[bytes]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=PARQUET_ROWS):
            for row in batch.to_pylist():
                yield json.dumps(row, default=str).encode()
