"""Digests of the log: closed ranges, chained, whose heads are also kept outside the database.

Defines how settled ranges are closed, a row's canonical form in Python (the same as `event_log.range_digest()` in
migration 0011), and the file of heads. What is made of them stands in `audit.py`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

COLUMNS = (
    "position",
    "tenant_id",
    "source",
    "event_id",
    "stream_id",
    "stream_version",
    "event_type",
    "schema_version",
    "sequence",
    "occurred_at",
    "recorded_at",
    "correlation_id",
    "causation_id",
    "data",
)
"""Every column of the log, in the order of its canonical form."""

_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 UTC in microseconds since 1970
_json = json.JSONEncoder(ensure_ascii=False).encode
_READ_DIGESTS = """
    select first_position, last_position, events, digest, chain from event_log.digests
    where last_position > %s order by last_position
"""


@dataclass(frozen=True, slots=True)
class Range:
    """A closed range of the log: its positions, both included, how many events stand there, digest and chain."""

    first_position: int
    last_position: int
    events: int
    digest: bytes
    chain: bytes


def close_ranges(pool: ConnectionPool, home: Path) -> Range | None:
    """Close the settled ranges of the log that are due, keep their heads outside, and return the newest range."""
    made = 1
    while made:
        with pool.connection() as connection:
            row = connection.execute("select event_log.make_digests()").fetchone()
        assert row is not None
        (made,) = row
    with pool.connection() as connection:
        keep_heads(connection, heads_file(home))
        newest = connection.execute("select max(last_position) from event_log.digests").fetchone()
        assert newest is not None
        return None if newest[0] is None else next(ranges(connection, newest[0] - 1))


def ranges(connection: Connection, after: int = -1) -> Iterator[Range]:
    """Yield the closed ranges that end past a position, in order."""
    with connection.cursor(row_factory=class_row(Range)) as cursor:
        yield from cursor.execute(_READ_DIGESTS, [after]).fetchall()


def row_hash(row: Sequence[Any]) -> bytes:
    """Return the SHA-256 of a row in its canonical form.

    Args:
        row: the values in the order of `COLUMNS`, times as microseconds since 1970 UTC, `data` as JSON text.
    """
    values = [*row[:9], _hexadecimal(row[9]), _hexadecimal(row[10]), row[11], row[12]]
    return hashlib.sha256((_json(values) + row[13]).encode()).digest()


def chained(before: bytes, closed: Range) -> bytes:
    """Return the chain's head after a range, from the head before it (empty at first)."""
    told = [closed.first_position, closed.last_position, closed.events, closed.digest.hex()]
    return hashlib.sha256(before + json.dumps(told).encode()).digest()


def heads_file(home: Path) -> Path:
    """Return where the heads are kept, below the state folder."""
    return home / "audit" / "heads.jsonl"


def keep_heads(connection: Connection, path: Path) -> None:
    """Append the heads that the file does not know yet, readable by its owner only, and force them to disk.

    Raises:
        PipelinesError: the file cannot be written.
    """
    database = connection.info.dbname
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            known = max((head["last_position"] for head in _read(file.read(), database)), default=-1)
            lines = [
                json.dumps({"database": database, "last_position": closed.last_position, "chain": closed.chain.hex()})
                for closed in ranges(connection, known)
            ]
            # A line that a crash cut off is left as it is; its head is written again.
            file.write("".join(f"\n{line}" for line in lines))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PipelinesError(
            f"{path}: the log's digests cannot be kept here: {error.strerror}; make it writable"
        ) from None


def kept_heads(path: Path, database: str) -> dict[int, str]:
    """Return the heads that the file holds of a database: last position of the range -> chain, in hexadecimal."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {head["last_position"]: head["chain"] for head in _read(text, database)}


def _read(text: str, database: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            head = json.loads(line)
        except ValueError:
            continue
        if head["database"] == database:
            yield head


def _hexadecimal(microseconds: int) -> str:
    return (microseconds - _POSTGRES_EPOCH).to_bytes(8, "big", signed=True).hex()
