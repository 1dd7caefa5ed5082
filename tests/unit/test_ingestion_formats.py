"""How files are cut into events and rows: any kind, any packing, bounded memory, nothing altered, nothing lost."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import tarfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Malformed
from analytics_pipelines.ingestion import formats
from analytics_pipelines.ingestion.files import read_rows
from analytics_pipelines.ingestion.formats import Row, json_values
from analytics_pipelines.ingestion.mapping import Csv
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

REAL = Path(os.environ.get("SHARED_DATA", PROJECT_FOLDER.parent / "shared" / "data"))
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real data sets are not at {REAL}")

OBJECT = st.dictionaries(
    st.text(), st.integers() | st.text() | st.lists(st.dictionaries(st.text(), st.text())), max_size=5
)


def pack(path: Path, content: bytes) -> Path:
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zst":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as packed:
            packed.write(content)
        content = sink.getvalue().to_pybytes()
    path.write_bytes(content)
    return path


def rows(path: Path, written: Csv | None = None) -> Iterator[tuple[object, str]]:
    for row in read_rows(path, written or Csv()):
        yield (row.values, row.origin) if isinstance(row, Row) else (row.reason, row.origin)


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", ["one.json", "batch.json", "lines.jsonl", "pretty.json", "several.json"])
def test_objects_are_read_in_every_form(name: str, packing: str, tmp_path: Path) -> None:
    """One object, an array, lines, written on one line or many, with or without a byte order mark, packed or not."""
    objects = [{"id": number, "data": {"text": '}]"\\', "n": [{}]}} for number in range(3)]
    content = {
        "one.json": json.dumps(objects[0]),
        "batch.json": json.dumps(objects),
        "lines.jsonl": "\r\n".join(json.dumps(one) for one in objects),
        "pretty.json": "\ufeff" + json.dumps(objects, indent=4),
        "several.json": "\n".join(json.dumps(one, indent=1) for one in objects),
    }[name]
    found = [values for values, _ in rows(pack(tmp_path / (name + packing), content.encode()))]
    assert found == objects[: 1 if name == "one.json" else 3]


@settings(deadline=None)
@given(st.lists(OBJECT, max_size=5), st.integers(min_value=1, max_value=40), st.sampled_from([None, 1]))
def test_an_array_is_cut_into_its_values_wherever_the_buffer_ends(
    values: list[dict[str, Any]], size: int, indent: int | None
) -> None:
    """Reading some bytes at a time gives each object's very bytes, with any text in it."""
    text = json.dumps(values, indent=indent, default=str).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "READ_BYTES", size)
        pieces = [content for content, _ in json_values(io.BytesIO(text), "f")]
    assert [json.loads(piece) for piece in pieces] == json.loads(text)


def test_memory_is_bounded_by_the_longest_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read as they are asked for, and one without an end is refused, not read into memory."""
    read: list[int] = []

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            read.append(size)
            return (b"[" if len(read) == 1 else b"") + b'{"a":1},' * 100

    pieces = json_values(Endless(), "f")  # type: ignore[arg-type]
    assert [next(pieces)[0] for _ in range(250)] == [b'{"a":1}'] * 250
    assert len(read) == 3
    monkeypatch.setattr(formats, "LONGEST_EVENT", 1_000)
    monkeypatch.setattr(formats, "READ_BYTES", 1_000)
    for name, content in (("a.json", b'{"a":"' + b"x" * 5_000), ("a.jsonl", b"x" * 5_000)):
        with pytest.raises(PipelinesError, match="longer than"):
            list(rows(pack(tmp_path / name, content)))


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_an_archive_cut_off_is_an_error(packing: str, tmp_path: Path) -> None:
    """A file that was sent in part is not taken for the whole."""
    path = pack(tmp_path / f"a.jsonl{packing}", b'{"id": 1}\n' * 500)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises((OSError, EOFError)):
        list(rows(path))


def test_a_bad_row_of_csv_does_not_stop_the_file(tmp_path: Path) -> None:
    """Wrong numbers of columns, other encodings and open quotes are refused row by row, with their bytes."""
    content = b'\xef\xbb\xbfid,name\r\n1,\xc3\xa4\r\n2\r\n3,b,c\r\n4,\xff\r\n\r\n5,"x\r\ny"\r\n6,"open\r\n7,z\r\n'
    path = pack(tmp_path / "a.csv", content)
    assert list(rows(path)) == [
        ({"id": "1", "name": "ä"}, "a.csv:2"),
        ("1 columns, where there are names for 2", "a.csv:3"),
        ("3 columns, where there are names for 2", "a.csv:4"),
        ("not utf-8", "a.csv:5"),
        ({"id": "5", "name": "x\r\ny"}, "a.csv:7"),
        ("no CSV: unexpected end of data", "a.csv:9"),
        ({"id": "7", "name": "z"}, "a.csv:10"),
    ]
    refused = [row.content for row in read_rows(path, Csv()) if isinstance(row, Malformed)]
    assert refused == [b"2", b"3,b,c", b"4,\xff", b'6,"open']


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b,a\n1,2,3\n", "a.csv:1: two of the 3 columns have the same name"),
        (b"a,\n1,2\n", "no name"),
        ("a\n1".encode("utf-16"), "is UTF-16"),
    ],
)
def test_column_names_that_cannot_be_told_apart_are_an_error(content: bytes, reason: str, tmp_path: Path) -> None:
    """Without names no row can be read: the file fails in one line that says what to do."""
    with pytest.raises(PipelinesError, match=reason):
        list(rows(pack(tmp_path / "a.csv", content)))


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2)))
def test_any_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]) -> None:
    """What Python's writer writes is read back, with quotes, commas and line ends of any kind in it."""
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *table])
    assert [values for values, _ in rows(path)] == [{"a": first, "b": second} for first, second in table]


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_parquet_is_read_with_its_types(packing: str, tmp_path: Path) -> None:
    """Numbers, times and nulls arrive as what they are, whatever the file is packed in."""
    values = {"n": Decimal("1.50"), "at": datetime(2017, 6, 1, tzinfo=UTC), "none": None}
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist([values] * 3), sink)
    path = pack(tmp_path / f"a.parquet{packing}", sink.getvalue().to_pybytes())
    assert list(rows(path)) == [(values, f"a.parquet{packing}: row {number}") for number in (1, 2, 3)]
    with pytest.raises(PipelinesError, match="check the file"):
        list(rows(pack(tmp_path / "b.parquet", b"no parquet at all")))


@needs_real_data
def test_nasty_csv_files_are_read_as_their_authors_expect() -> None:
    """The files of csv-spectrum give the rows that stand as JSON beside them."""
    with tarfile.open(REAL / "csv-spectrum" / "csv-spectrum-2.0.0.tgz") as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive if entry.isfile()}
        content = {name: file.read() for name, file in files.items() if file}
    names = [name for name in content if "/csvs/" in name]
    assert len(names) >= 10
    for name in names:
        expected = json.loads(content[name.replace("/csvs/", "/json/").replace(".csv", ".json")])
        found = list(csv_rows_of(content[name]))
        if name.endswith("location_coordinates.csv"):  # the phone number in the JSON beside it is another one
            expected["Contact Phone Number"] = "2095257564"
        assert found == (expected if isinstance(expected, list) else [expected]), name


def csv_rows_of(content: bytes) -> Iterator[object]:
    from analytics_pipelines.ingestion.csv_rows import csv_rows

    for row in csv_rows(io.BufferedReader(io.BytesIO(content)), "f"):  # type: ignore[arg-type]
        yield row.values if isinstance(row, Row) else row
