"""The kinds of file that are read, as streams of bounded memory.

Defines which suffix means which kind, how compressed files are opened, and how a file is cut into its lines, JSON
values or rows. What these mean is told by `cloud_events.py` and `mapping.py`. Rows of CSV are in `csv_rows.py`.
"""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
from dataclasses import dataclass
from io import BufferedReader
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Malformed
from analytics_pipelines.event_log.cloud_events import exact_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

KINDS = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
COMPRESSIONS = (".gz", ".zst")
SUFFIXES = tuple(suffix + packed for suffix in KINDS for packed in ("", *COMPRESSIONS))
NEEDS_MAPPING = ("csv", "parquet")

LONGEST_EVENT = 64 * 2**20
"""Bytes of one line or JSON value; a file of another kind under a wrong name would be read into memory whole."""
READ_BYTES = 2**20
PARQUET_ROWS = 5_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
# From a place outside of texts up to the next bracket, over whole texts.
_TO_BRACKET = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"\[\]{}]*+)*+[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table or one plain JSON object.

    Attributes:
        values: by column; None where the format knows nulls, an empty text where a CSV field is empty.
        content: the bytes it was read from; None where rows have none of their own.
        origin: the file and the place in it.
    """

    values: dict[str, Any]
    content: bytes | None
    origin: str


def kind_of(path: Path) -> str:
    """Return the kind of a file by its name: lines, json, csv or parquet.

    Raises:
        PipelinesError: the name ends in none of `SUFFIXES`.
    """
    name = path.name
    for packed in COMPRESSIONS:
        name = name.removesuffix(packed)
    for suffix, kind in KINDS.items():
        if name.endswith(suffix):
            return kind
    raise PipelinesError(
        f"{path}: not a kind of file that is read here; give one of {', '.join(KINDS)}, each also .gz or .zst"
    )


def open_file(path: Path) -> BufferedReader:
    """Open a file for reading what it holds, unpacked."""
    if path.name.endswith(".gz"):
        return BufferedReader(gzip.open(path, "rb"), READ_BYTES)
    if path.name.endswith(".zst"):
        import pyarrow as pa

        # Of the libraries for it, this one tells a file that was cut off.
        return BufferedReader(cast("Any", pa.input_stream(str(path), compression="zstd")), READ_BYTES)
    return path.open("rb")


def lines(file: BinaryIO, name: str) -> Iterator[tuple[bytes, str]]:
    """Yield each line that is not empty, with its origin."""
    number = 0
    while line := file.readline(LONGEST_EVENT + 1):
        number += 1
        if len(line) > LONGEST_EVENT:
            raise _too_long(f"{name}:{number}")
        content = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
        if content:
            yield content, f"{name}:{number}"


def json_values(file: BinaryIO, name: str) -> Iterator[tuple[bytes, str]]:
    """Yield the bytes of each value of a JSON array, or of a file of one JSON value or several, with its origin.

    Only brackets are looked at: whether a piece is JSON is told by who reads it, so that a broken one stands alone.
    """
    buffer = file.read(READ_BYTES).removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
    in_array = buffer.startswith(b"[")
    start = position = 1 if in_array else 0
    depth = number = 0
    while True:
        match = _TO_BRACKET.match(buffer, position)
        if match is None:
            more = file.read(READ_BYTES)
            if not more:
                break
            if len(buffer) - start > LONGEST_EVENT:
                raise _too_long(f"{name}: event {number + 1}")
            buffer, position, start = buffer[start:] + more, position - start, 0
            continue
        position = match.end()
        depth += 1 if buffer[position - 1] in b"[{" else -1
        if depth <= 0:
            closes_array = depth < 0
            piece = _piece(
                buffer[start : position - 1 if closes_array else position], after_another=in_array and number > 0
            )
            start = position
            if piece:
                number += 1
                yield piece, f"{name}: event {number}"
            if closes_array:
                in_array, depth = False, 0
    rest = _piece(buffer[start:], after_another=in_array and number > 0)
    if rest or in_array:  # the end is missing: what there is of it is no JSON, and is quarantined as such
        yield rest or b"[", f"{name}: event {number + 1}"


def _piece(content: bytes, *, after_another: bool) -> bytes:
    piece = content.strip(_BLANK)
    return piece.removeprefix(b",").lstrip(_BLANK) if after_another else piece


def rows_of_json(pieces: Iterator[tuple[bytes, str]]) -> Iterator[Row | Malformed]:
    """Yield each plain JSON object as a row; numbers keep every digit."""
    for content, origin in pieces:
        try:
            values = exact_json(content)
            if isinstance(values, dict):
                yield Row(values, content, origin)
            else:
                yield Malformed(content, "a JSON object is needed", origin)
        except ValueError as error:
            yield Malformed(content, str(error), origin)


def parquet_rows(path: Path) -> Generator[Row]:
    """Yield the rows of a Parquet file, some thousands in memory at a time.

    Raises:
        PipelinesError: it is no Parquet.
    """
    import pyarrow as pa
    from pyarrow import parquet

    with tempfile.TemporaryFile() as unpacked:
        packed = path.name.endswith(COMPRESSIONS)
        if packed:  # Parquet is read from its end
            with open_file(path) as file:
                shutil.copyfileobj(file, unpacked)
            unpacked.seek(0)
        number = 0
        try:
            with parquet.ParquetFile(unpacked if packed else path) as file:
                for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                    for values in cast("list[dict[str, Any]]", batch.to_pylist()):
                        number += 1
                        yield Row(values, None, f"{path.name}: row {number}")
        except pa.ArrowException as error:
            raise PipelinesError(
                f"{path}: row {number + 1}: {_first_line(cast('object', error))}; check the file and send it again"
            ) from None


def _first_line(error: object) -> str:
    return str(error).split("\n", 1)[0]


def _too_long(origin: str) -> PipelinesError:
    return PipelinesError(
        f"{origin}: longer than {LONGEST_EVENT // 2**20} MB before it ends; check that the file is of the kind its "
        "name says"
    )
