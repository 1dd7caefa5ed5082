"""Files of events, from outside into the log.

Defines how a file becomes events, whatever its kind, and how it is ingested exactly once by its content. What is no
event is quarantined with the reason; it never stops the file.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.cloud_events import parse_event
from analytics_pipelines.ingestion.csv_rows import csv_rows
from analytics_pipelines.ingestion.formats import (
    NEEDS_MAPPING,
    SUFFIXES,
    Row,
    json_values,
    kind_of,
    lines,
    open_file,
    parquet_rows,
    rows_of_json,
)
from analytics_pipelines.ingestion.mapping import Csv, Mapping, load_mappings, map_rows
from analytics_pipelines.ingestion.once import append_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import BatchResult, Malformed, NewEvent

BROKEN = (OSError, EOFError, zlib.error)
"""What readers raise of a file that is damaged, was cut off, or cannot be opened."""

__all__ = ["BROKEN", "SUFFIXES", "FileChangedError", "ingest_file", "parse_event", "read_events", "read_rows"]


class FileChangedError(PipelinesError):
    """A file was written to while it was read; what it holds in the end is not known yet."""


def ingest_file(
    pool: ConnectionPool,
    tenant_id: str,
    path: Path,
    mapping: Path | None = None,
    show: Callable[[int], None] | None = None,
) -> BatchResult:
    """Append the events of one file to the log, and remember the file by its content.

    A file whose content was ingested before with the same mapping, under any name, changes nothing: all its events
    count as duplicates.

    Args:
        pool: runtime sessions.
        tenant_id: whose events they are.
        path: the file.
        mapping: the mapping file; needed for CSV and Parquet, and makes plain objects of JSON.
        show: is told now and then how many events were read.

    Raises:
        PartlyReadError: the file cannot be read to its end, or was written to; what was read of it is in the log.
        PipelinesError: the file or the mapping cannot be read, or is of no known kind.
    """
    mappings = _mappings(path, mapping)
    try:
        digest = _digest(path)
        # The same file through another mapping is other events.
        known_as = digest if mapping is None else hashlib.sha256(digest.encode() + mapping.read_bytes()).hexdigest()
    except BROKEN as error:
        raise cannot_be_read(path, error) from None
    return append_once(pool, tenant_id, known_as, path.name, _unchanged(path, digest, mappings), show)


def read_events(path: Path, mappings: list[Mapping] | None = None) -> Iterator[NewEvent | Malformed]:
    """Yield what a file holds, one after the other: an event, or why it is none.

    Args:
        path: the file.
        mappings: how its rows become events; CloudEvents need none.
    """
    if mappings:
        yield from map_rows(read_rows(path, mappings[0].csv), mappings, every_column=kind_of(path) in NEEDS_MAPPING)
        return
    read = lines if kind_of(path) == "lines" else json_values
    with open_file(path) as file:
        for content, origin in read(file, path.name):
            yield parse_event(content, origin)


def read_rows(path: Path, written: Csv) -> Iterator[Row | Malformed]:
    """Yield the rows of a table, or the plain objects of JSON.

    Args:
        path: the file.
        written: how it is written if it is CSV.
    """
    kind = kind_of(path)
    if kind == "parquet":
        yield from parquet_rows(path)
        return
    with open_file(path) as file:
        if kind == "csv":
            delimiter = written.delimiter or ("\t" if ".tsv" in path.suffixes else ",")
            yield from csv_rows(
                file, path.name, delimiter=delimiter, encoding=written.encoding, columns=written.columns
            )
        else:
            yield from rows_of_json((lines if kind == "lines" else json_values)(file, path.name))


def cannot_be_read(path: Path, error: Exception) -> PipelinesError:
    """Say in one line that a file is broken or cannot be opened."""
    reason = getattr(error, "strerror", None) or error
    return PipelinesError(f"{path}: cannot be read: {reason}; check the file and send it again")


def _mappings(path: Path, mapping: Path | None) -> list[Mapping]:
    kind = kind_of(path)
    if mapping is not None:
        return load_mappings(mapping)
    if kind in NEEDS_MAPPING:
        raise PipelinesError(
            f"{path}: rows become events by a mapping; `pipelines ingest {path.name} --tenant T --dry-run` proposes "
            f"one, give it with --mapping, or in the landing folder as {path.name}.mapping.yaml"
        )
    return []


def _unchanged(path: Path, digest: str, mappings: list[Mapping]) -> Iterator[NewEvent | Malformed]:
    """Yield the events of a file, and refuse to call it read if it is another one by then.

    Raises:
        FileChangedError: it is.
        PipelinesError: the file cannot be read to its end.
    """
    try:
        yield from read_events(path, mappings)
        is_changed = _digest(path) != digest
    except BROKEN as error:
        raise cannot_be_read(path, error) from None
    if is_changed:
        raise FileChangedError(f"{path}: was written to while it was read; send it again when it is complete")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
