"""Files of events, from outside into the log.

Defines how JSON Lines of CloudEvents 1.0 are read (one event a line, `.jsonl`, `.ndjson`, also `.gz`) and how a file is
ingested exactly once by its content. A line that is no event is quarantined with the reason; it never stops the file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult, Malformed, NewEvent
from analytics_pipelines.ingestion.once import append_once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    _Json = dict[str, Any] | list[Any] | str | Decimal | int | None

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
SAFE_DIGITS = 18
_REQUIRED = ("id", "source", "type", "subject", "time", "data")


def ingest_file(pool: ConnectionPool, tenant_id: str, path: Path) -> BatchResult:
    """Append the events of one file to the log, and remember the file by its content.

    A file whose content was ingested before, under any name, changes nothing: all its events count as duplicates.

    Raises:
        PipelinesError: the file cannot be read or is of no known kind.
    """
    if not path.name.endswith(SUFFIXES):
        raise PipelinesError(f"{path}: not a kind of file that is read here; give one of {', '.join(SUFFIXES)}")
    try:
        digest = _digest(path)
        return append_once(pool, tenant_id, digest, path.name, _unchanged(path, digest))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise PipelinesError(f"{path}: cannot be read: {reason}; check the file and send it again") from None


class FileChangedError(PipelinesError):
    """A file was written to while it was read; what it holds in the end is not known yet."""


def _unchanged(path: Path, digest: str) -> Iterator[NewEvent | Malformed]:
    """Yield the events of a file, and refuse to call it read if it is another one by then."""
    yield from read_events(path)
    if _digest(path) != digest:
        raise FileChangedError(f"{path}: was written to while it was read; send it again when it is complete")


def read_events(path: Path) -> Iterator[NewEvent | Malformed]:
    """Yield what each line of a file holds: an event, or why it is none. Empty lines are passed over."""
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            content = line.strip()
            if content:
                yield parse_event(content, f"{path.name}:{number}")


def parse_event(content: bytes, origin: str) -> NewEvent | Malformed:
    """Read one CloudEvents 1.0 JSON object; numbers keep every digit, duplicate keys are refused.

    Args:
        content: the object's bytes, UTF-8.
        origin: where it stands, for the quarantine.
    """
    try:
        sent = json.loads(
            content, object_pairs_hook=_unique, parse_int=_whole, parse_float=Decimal, parse_constant=_refuse_constant
        )
        return replace(_event(sent), origin=origin, raw=content)
    except (ValueError, RecursionError) as error:
        return Malformed(content, str(error) or "nested too deeply", origin)


def _event(sent: _Json) -> NewEvent:
    if not isinstance(sent, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - wrong input, not a wrong call
    missing = [name for name in _REQUIRED if name not in sent]
    if missing:
        raise ValueError(f"{', '.join(missing)}: missing")
    for name in ("id", "source", "type", "subject", "time"):
        if not isinstance(sent[name], str):
            raise ValueError(f"{name}: a text is needed")  # noqa: TRY004 - wrong input, not a wrong call
    data: _Json = sent["data"]
    if not isinstance(data, dict):
        raise ValueError("data: a JSON object is needed")  # noqa: TRY004 - the same
    return NewEvent(
        source=sent["source"],
        event_id=sent["id"],
        stream_id=sent["subject"],
        event_type=sent["type"],
        occurred_at=_time(sent["time"]),
        data=data,
        schema_version=_integer(sent, "dataschemaversion", 1),
        sequence=_integer(sent, "sequence", 0),
        correlation_id=_optional_text(sent, "correlationid"),
        causation_id=_optional_text(sent, "causationid"),
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time: {text!r} is no RFC 3339 time such as 2017-06-01T12:00:00Z") from None


def _integer(sent: dict[str, Any], name: str, default: int) -> int:
    value = sent.get(name, default)
    is_whole = isinstance(value, int | str) or (isinstance(value, Decimal) and value == value.to_integral_value())
    try:
        number = int(value) if is_whole and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(f"{name}: a whole number is needed")
    return number


def _optional_text(sent: dict[str, Any], name: str) -> str | None:
    value = sent.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: a text is needed")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice}: given twice in one object")
    return unique


def _whole(digits: str) -> int | Decimal:
    """Read a whole number; one beyond 64 bits as a decimal, which the log's JSON writer keeps exactly."""
    return int(digits) if len(digits) <= SAFE_DIGITS else Decimal(digits)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _open(path: Path) -> BufferedIOBase:
    return gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
