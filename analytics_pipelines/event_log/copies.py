"""Readable copies of events outside the log: which of them name a person, and forgetting those.

Defines how an erased subject is found in what was sent - refused events, landed files - and what becomes of the files.
In a CloudEvent the identifier counts in the field of its kind. What is none became events by a mapping, which may have
changed since: there any value that is the identifier counts, whatever its column is called. Better a file too many is
deleted, whose events the log has, than one too few.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from analytics_pipelines.event_log.cloud_events import looks_like_cloud_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARQUET_ROWS = 10_000
LINE_BYTES = 2**26
"""Longer lines are looked at in pieces."""
REASON = ".reason.txt"
MAPPING = "mapping.yaml"
ENCODINGS = ("utf-8", "latin-1", "cp1252", "iso8859-15")
_PARQUET, _GZIP, _ZSTD = b"PAR1", b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# In what is left of a CloudEvent it would name every subject 1.
_SPECVERSION = re.compile(rb'"specversion"\s*:\s*"1\.0"')
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


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
        if b"\\" not in content and not any(form in content for form in self._forms):
            return False
        try:
            return self.names(json.loads(content))
        except (ValueError, RecursionError):
            return any(self._word.search(text) for text in _texts(_SPECVERSION.sub(b"", content)))

    def names(self, value: object, *, in_event: bool = False) -> bool:
        """Tell whether a JSON value, or a row of a table, names the subject; within an event, by the kind's field."""
        if isinstance(value, dict):
            row = cast("dict[str, Any]", value)
            in_event = in_event or looks_like_cloud_event(row) or "event_type" in row
            return any(
                (name in self.fields and self.identifier in _written(item)) or self.names(item, in_event=in_event)
                for name, item in row.items()
            )
        if isinstance(value, list | tuple):
            return any(self.names(item, in_event=in_event) for item in cast("list[object]", value))
        written = _written(value)
        if self.subject in written or (self.identifier in written and not in_event):
            return True
        # A payload may have been sent as text.
        return any(text[:1] in {"{", "["} and self._stands_in_text(text, in_event=in_event) for text in written)

    @cached_property
    def _forms(self) -> frozenset[bytes]:
        """The identifier in each encoding that has it; a line without any of them, nor an escape, cannot name it."""
        return frozenset(self.identifier.encode(encoding, "replace") for encoding in ENCODINGS)

    @cached_property
    def _word(self) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w-]){re.escape(self.identifier)}(?![\w-])|{re.escape(self.subject)}(?![\w-])")

    def _stands_in_text(self, text: str, *, in_event: bool) -> bool:
        try:
            return self.names(json.loads(text), in_event=in_event)
        except (ValueError, RecursionError):
            return self._word.search(_unescaped(text)) is not None


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
        if not path.is_file() or path.name.endswith((REASON, MAPPING)):
            continue
        try:
            is_named = _names(path, named)
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


def _names(path: Path, named: Named) -> bool:
    """Tell whether a file names a subject, by what it holds and not by what it is called.

    Raises:
        Exception: it cannot be read to its end, or is neither text nor Parquet, and what was read names nobody.
    """
    with path.open("rb") as packed, _unpacked(packed) as file:
        if file.peek(len(_PARQUET))[: len(_PARQUET)] == _PARQUET:
            return any(map(named.names, _rows(file, is_packed=file is not packed)))
        is_text = True
        for line in _lines(file, keep=len(named.subject) * len("\\u0000")):
            if named.stands_in(line):
                return True
            is_text = is_text and _NO_TEXT.search(line) is None
    if not is_text:
        raise ValueError(f"{path}: no text")
    return False


def _unpacked(file: BufferedReader) -> BufferedReader:
    """Return what a file holds, unpacked, in bounded memory."""
    start = file.peek(len(_ZSTD))
    if start.startswith(_GZIP):
        return BufferedReader(gzip.open(file, "rb"))
    if start.startswith(_ZSTD):
        import pyarrow as pa

        return BufferedReader(cast("Any", pa.input_stream(file, compression="zstd")))
    return file


def _lines(file: BinaryIO, keep: int) -> Iterator[bytes]:
    """Yield lines, a very long one in pieces that begin with the end of the piece before."""
    line = b""
    while more := file.readline(LINE_BYTES):
        line = more if line.endswith(b"\n") else line[-keep:] + more
        yield line


def _rows(file: BinaryIO, *, is_packed: bool) -> Iterator[dict[str, object]]:
    from pyarrow import parquet

    with tempfile.TemporaryFile() as unpacked:
        if is_packed:  # Parquet is read from its end
            shutil.copyfileobj(file, unpacked)
        with parquet.ParquetFile(unpacked if is_packed else file) as table:
            for batch in table.iter_batches(batch_size=PARQUET_ROWS):
                yield from cast("list[dict[str, object]]", batch.to_pylist())


def _written(value: object) -> set[str]:
    """Return how a single value is written as an identifier; a whole number also as columns with gaps have it."""
    if isinstance(value, bytes):
        return {value.decode("utf-8", "replace").strip()}
    if isinstance(value, float) and value.is_integer():
        return {str(value), str(int(value))}
    return {str(value).strip()}


def _texts(content: bytes) -> Iterator[str]:
    """Yield what bytes may say: in each encoding that is read, and as JSON escapes text."""
    for encoding in ENCODINGS if not content.isascii() else ENCODINGS[:1]:
        text = content.decode(encoding, "replace")
        yield text
        if "\\" in text:
            yield _unescaped(text)


def _unescaped(text: str) -> str:
    plain = _ESCAPED.sub(lambda found: chr(int(found[1], 16)) if found[1] else found[2], text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
