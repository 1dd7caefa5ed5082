"""Partitions of the log: listed, exported to Parquet, and taken out of the log when their export is proved.

Defines the export (a file of every column, in order of position) and how it is read back and compared with the digests
of the log. What the database demands before a partition leaves stands in migration 0011, `detach_partition()`.
"""

# pyright: reportUnknownArgumentType=false
# pyarrow has no types.

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg import errors
from psycopg.rows import class_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.digests import COLUMNS, Range, ranges, row_hash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

EXPORT_ROWS = 20_000
ROW_GROUP_CHARACTERS = 64_000_000

_MOMENT = pa.timestamp("us", tz="UTC")
_KINDS: dict[str, pa.DataType] = {
    "position": pa.int64(),
    "stream_version": pa.int32(),
    "schema_version": pa.int16(),
    "sequence": pa.int64(),
    "occurred_at": _MOMENT,
    "recorded_at": _MOMENT,
}
SCHEMA = pa.schema([pa.field(name, _KINDS.get(name, pa.string())) for name in COLUMNS])
"""The columns of an export: those of the log, `data` as JSON text."""

_LIST = """
    select first_position, end_position, table_name, detached_at, export_digest,
        end_position - 1 <= (select position from event_log.settled) as is_closed
    from event_log.partitions order by first_position
"""

# Times travel as microseconds since 1970: half the time of making objects of them, twice.
# A page is so many rows, or fewer of many characters: a payload may have megabytes.
_PAGE = """
    select position, tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence,
        occurred_at, recorded_at, correlation_id, causation_id, data
    from (
        select *, sum(length(data)) over (order by position) - length(data) as before
        from (
            select position, tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version,
                sequence, (extract(epoch from occurred_at) * 1000000)::bigint as occurred_at,
                (extract(epoch from recorded_at) * 1000000)::bigint as recorded_at, correlation_id, causation_id,
                data::text as data
            from event_log.events where position > %s and position < %s order by position limit %s
        ) as next
    ) as page
    where before < %s
    order by position
"""

_BEHIND = """
    select tenant_id || ' ' || reader
    from (
        select tenant_id, reader, position from progress.checkpoints
        union all select tenant_id, name, position from event_log.subscriptions
        union all select '*', 'vault/subject_profile', position from vault.profiled
    ) as readers
    where position < %s order by position limit 5
"""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the log: from its first position up to the one before its end. Closed: no event can come any more.

    `detached_at` (UTC) and `export_digest`, the SHA-256 of its export, are set when it has left the log.
    """

    first_position: int
    end_position: int
    table_name: str
    detached_at: datetime | None
    export_digest: str | None
    is_closed: bool


@dataclass(slots=True)
class Export:
    """What an export was found to hold.

    Attributes:
        file_digest: SHA-256 of the file, in hexadecimal.
        events: how many events it holds.
        rows_digest: SHA-256 over the digests of its ranges.
        differs: the first range that is not as the log was when the range was closed; None when all are.
    """

    file_digest: str
    events: int = 0
    rows_digest: bytes = b""
    differs: Range | None = None


@dataclass(slots=True)
class _Sum:
    """The digest of the rows of one range as they come by."""

    events: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


def listing(connection: Connection) -> list[Partition]:
    """Return the partitions of the log, the oldest first, also those that have left it."""
    with connection.cursor(row_factory=class_row(Partition)) as cursor:
        return cursor.execute(_LIST).fetchall()


def export_file(folder: Path, partition: Partition) -> Path:
    """Return where the export of a partition is kept in a folder."""
    return folder / f"{partition.table_name}.parquet"


def export(pool: ConnectionPool, name: str, folder: Path) -> tuple[Path, Export]:
    """Write the events of a closed partition to a Parquet file, read it back and compare it with the log's digests.

    The file is complete under its name or not there. Memory does not grow with the partition.

    Raises:
        PipelinesError: there is no such partition, it is not closed, or the file differs from the digests.
    """
    partition = _attached(pool, name)
    if not partition.is_closed:
        raise PipelinesError(
            f"partition {name} is not closed: events may still come up to position {partition.end_position - 1}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = export_file(folder, partition)
    unfinished = path.with_suffix(".unfinished")
    try:
        unfinished.touch(mode=0o600)
        with pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer:
            for rows in _pages(pool, partition):
                columns = zip(*rows, strict=True)
                arrays = [pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise PipelinesError(
            f"{path}: cannot be written: {error.strerror or error}; make room and export again"
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
    return path, _verified(pool, partition, path)


def read_export(path: Path, closed: list[Range]) -> Export:
    """Read an export and compare its rows with the digests of the ranges that it is made of.

    Raises:
        PipelinesError: it is no Parquet file of the log's columns.
    """
    sums = [_Sum() for _ in closed]
    number = outside = 0
    try:
        with path.open("rb") as file:
            found = Export(hashlib.file_digest(file, "sha256").hexdigest())
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(EXPORT_ROWS, columns=list(COLUMNS)):
                for row in zip(*(_values(column) for column in batch.columns), strict=True):
                    while number < len(closed) and row[0] > closed[number].last_position:
                        number += 1
                    if number == len(closed) or row[0] < closed[number].first_position:
                        outside += 1
                        continue
                    sums[number].events += 1
                    sums[number].digest.update(row_hash(row))
    except (OSError, pa.ArrowException, TypeError, LookupError, OverflowError) as error:
        raise PipelinesError(f"{path}: cannot be read as an export of the log: {error}; export it again") from None
    found.events = outside + sum(one.events for one in sums)
    all_digests = hashlib.sha256()
    for one, said in zip(sums, closed, strict=True):
        all_digests.update(one.digest.digest())
        if found.differs is None and (one.events, one.digest.digest()) != (said.events, said.digest):
            found.differs = said
    found.rows_digest = all_digests.digest()
    if outside and found.differs is None:
        raise PipelinesError(f"{path}: {outside} of its events belong to no closed range; export it again")
    return found


def _values(column: Any) -> list[Any]:  # noqa: ANN401 - a pyarrow array
    return (column.cast(pa.int64()) if column.type == _MOMENT else column).to_pylist()


def detach(pool: ConnectionPool, name: str, folder: Path) -> int:
    """Take a partition out of the log and return how many events left with it.

    Its export is verified here against the digests, and the database compares it with its rows once more. The
    identities of its events stay, so what is sent again is still a duplicate or a conflict.

    Raises:
        PipelinesError: the export is missing or not the log's, a reader has not come that far, or the database refuses.
    """
    partition = _attached(pool, name)
    path = export_file(folder, partition)
    if not path.exists():
        raise PipelinesError(f"{path}: no export of {name}; run `pipelines events partitions export {name}`")
    with pool.connection() as connection:
        behind = [row[0] for row in connection.execute(_BEHIND, [partition.end_position - 1]).fetchall()]
    if behind:
        raise PipelinesError(
            f"partition {name} is still to be read by {', '.join(behind)}; build them, and `pipelines drop` "
            "what is no more in the project; a subscription that is no more leaves event_log.subscriptions by hand"
        )
    found = _verified(pool, partition, path)
    try:
        with pool.connection() as connection:
            row = connection.execute(
                "select event_log.detach_partition(%s, %s, %s, %s)",
                [name, found.file_digest, found.events, found.rows_digest],
            ).fetchone()
    except errors.DatabaseError as error:
        if error.sqlstate != "PL003":
            raise
        raise PipelinesError(f"partition {str(error).splitlines()[0]}") from None
    assert row is not None
    return row[0]


def _attached(pool: ConnectionPool, name: str) -> Partition:
    with pool.connection() as connection:
        known = {one.table_name: one for one in listing(connection) if one.detached_at is None}
    if name not in known:
        raise PipelinesError(f"{name!r} is no partition of the log; give one of {', '.join(known)}")
    return known[name]


def _verified(pool: ConnectionPool, partition: Partition, path: Path) -> Export:
    with pool.connection() as connection:
        closed = [
            one
            for one in ranges(connection, partition.first_position - 1)
            if one.last_position < partition.end_position
        ]
    if not closed or closed[-1].last_position != partition.end_position - 1:
        raise PipelinesError(
            f"partition {partition.table_name} has no digest up to its end yet; build event_log/events, then try again"
        )
    found = read_export(path, closed)
    if found.differs is not None:
        raise PipelinesError(
            f"{path}: differs from the log's digest between positions {found.differs.first_position} and "
            f"{found.differs.last_position}; run `pipelines verify`, and export again if the log is whole"
        )
    return found


def _pages(pool: ConnectionPool, partition: Partition) -> Iterator[list[tuple[Any, ...]]]:
    after = partition.first_position - 1
    while True:
        with pool.connection() as connection:
            rows = connection.execute(
                _PAGE, [after, partition.end_position, EXPORT_ROWS, ROW_GROUP_CHARACTERS]
            ).fetchall()
        if not rows:
            return
        yield rows
        after = rows[-1][0]
