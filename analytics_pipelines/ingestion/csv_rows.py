"""Rows of CSV, with the bytes of each.

Defines `csv_rows`. A row that is no CSV, has the wrong number of columns or is not in the encoding is handed on as
malformed; the rows after it are read all the same.
"""

from __future__ import annotations

import csv
from collections import deque
from io import BufferedReader, TextIOWrapper
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Malformed
from analytics_pipelines.ingestion.formats import LONGEST_EVENT, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST_FIELD = 16 * 2**20
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class _Lines:
    """The lines of a file, for `csv.reader`; remembers those that the present row was read from."""

    def __init__(self, file: TextIOWrapper, name: str) -> None:
        self._file = file
        self.name = name
        self._again: deque[str] = deque()
        self.number = 0
        self.taken: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._file.readline(LONGEST_EVENT)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= LONGEST_EVENT:
            raise PipelinesError(f"{self.name}:{self.number}: a line without an end; check that the file is CSV")
        self.taken.append(line)
        return line

    def give_back_all_but_first(self) -> None:
        """Take the first line for the broken one: a quote that is never closed swallows the rows after it."""
        self.number -= len(self.taken) - 1
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def csv_rows(
    file: BufferedReader, name: str, *, delimiter: str = ",", encoding: str = "utf-8", columns: Sequence[str] = ()
) -> Iterator[Row | Malformed]:
    """Yield the rows of a CSV file.

    Args:
        file: its bytes.
        name: the file's name, for the origin of each row.
        delimiter: the character between two fields.
        encoding: how text is written; a byte order mark is passed over.
        columns: the names of the columns, if the file's first row is not their names.

    Raises:
        PipelinesError: the names of the columns cannot be read, or one comes twice.
    """
    if file.peek(2)[:2] in _UTF_16:
        raise PipelinesError(f"{name}: is UTF-16; write it as UTF-8")
    csv.field_size_limit(LONGEST_FIELD)
    codec = "utf-8-sig" if encoding == "utf-8" else encoding
    with TextIOWrapper(file, codec, errors="surrogateescape", newline="") as text:
        yield from _rows(_Lines(text, name), list(columns), delimiter, encoding)


def _rows(lines: _Lines, header: list[str], delimiter: str, encoding: str) -> Iterator[Row | Malformed]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.taken.clear()
        origin = f"{lines.name}:{lines.number + 1}"
        try:
            fields = next(reader)
            wrong = None if _is_text(fields) else f"not {encoding}"
        except StopIteration:
            return
        except csv.Error as error:
            lines.give_back_all_but_first()
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            fields, wrong = [""], f"no CSV: {error}"
        if not header:
            header = _names(fields, wrong, origin)
        elif fields:
            content = "".join(lines.taken).rstrip("\r\n").encode(encoding, "surrogateescape")
            if wrong is None and len(fields) != len(header):
                wrong = f"{len(fields)} columns, where there are names for {len(header)}"
            if wrong is None:
                yield Row(dict(zip(header, fields, strict=True)), content, origin)
            else:
                yield Malformed(content, wrong, origin)


def _names(fields: list[str], wrong: str | None, origin: str) -> list[str]:
    names = [field.strip() for field in fields]
    if wrong is None and not all(names):
        wrong = "a column has no name"
    if wrong is None and len(set(names)) < len(names):
        wrong = f"two of the {len(names)} columns have the same name"
    if wrong is not None:
        raise PipelinesError(
            f"{origin}: {wrong}; correct the first row, or name the columns in the mapping (csv.columns)"
        )
    return names


def _is_text(fields: list[str]) -> bool:
    text = "".join(fields)
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
