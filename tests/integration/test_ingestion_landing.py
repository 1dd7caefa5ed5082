"""The landing folder: each file once, whatever its name; nothing half-sent; nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.ingestion import files
from analytics_pipelines.ingestion.files import ingest_file
from analytics_pipelines.ingestion.landing import ingest_waiting, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import EventStore, Malformed, NewEvent
    from analytics_pipelines.ingestion.mapping import Mapping


def line(number: int) -> str:
    data = {"order_id": f"{number}", "amount": 1.5}
    event = {"id": f"{number}", "source": "shop", "type": "order_paid", "subject": f"order-{number}", "data": data}
    return json.dumps(event | {"specversion": "1.0", "time": "2017-06-01T12:00:00Z"})


def put(path: Path, *lines: str, age: float = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_files_are_taken_once_and_moved_to_done(tmp_path: Path, database: ConnectionPool, store: EventStore) -> None:
    """A file sent again under another name adds nothing, and both end in done/."""
    put(tmp_path / "shop" / "a.jsonl", line(1), line(2), "broken")
    landed = ingest_waiting(database, tmp_path)
    assert (landed.files, landed.events["shop"].accepted, landed.events["shop"].quarantined) == (1, 2, 1)
    put(tmp_path / "shop" / "renamed.jsonl", line(1), line(2), "broken")
    put(tmp_path / "shop" / "a.jsonl", line(2), line(3))
    landed = ingest_waiting(database, tmp_path)
    assert (landed.events["shop"].accepted, landed.events["shop"].duplicates, landed.events["shop"].quarantined) == (
        1,
        3,
        1,
    )
    assert sorted(path.name for path in (tmp_path / "shop" / "done").iterdir()) == [
        "2-a.jsonl",
        "a.jsonl",
        "renamed.jsonl",
    ]
    assert [event.event_id for event in store.read()] == ["1", "2", "3"]
    with database.connection() as connection:
        assert connection.execute("select count(*) from event_log.quarantine").fetchone() == (1,)


def test_what_is_refused_keeps_its_bytes_and_its_place(tmp_path: Path, database: ConnectionPool) -> None:
    """Whatever the reason, the quarantine has the very line that was sent, and the file and line it stood in."""
    invalid = line(2).replace("1.5", '"much"')
    conflict = line(1).replace("1.5", "2.50")
    unknown = line(3).replace("order_paid", "order_payd")
    put(tmp_path / "shop" / "a.jsonl", line(1), invalid, conflict, unknown, "broken")
    ingest_waiting(database, tmp_path)
    with database.connection() as connection:
        rows = connection.execute("select kind, origin, bytes from event_log.quarantine").fetchall()
    assert sorted((kind, origin, bytes(content).decode()) for kind, origin, content in rows) == [
        ("conflict", "a.jsonl:3", conflict),
        ("invalid", "a.jsonl:2", invalid),
        ("malformed", "a.jsonl:5", "broken"),
        ("unknown_type", "a.jsonl:4", unknown),
    ]


def test_a_file_that_grows_while_it_is_read_is_taken_again(
    tmp_path: Path, database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that pauses longer than the quiet time loses nothing: the file stays until it has stopped changing."""
    path = put(tmp_path / "shop" / "a.jsonl", line(1))
    read = files.read_events

    def read_and_grow(path: Path, mappings: list[Mapping]) -> Iterator[NewEvent | Malformed]:
        yield from read(path, mappings)
        put(path, line(1), line(2))

    monkeypatch.setattr(files, "read_events", read_and_grow)
    ingest_waiting(database, tmp_path)
    assert path.exists()
    monkeypatch.undo()
    ingest_waiting(database, tmp_path)
    assert [event.event_id for event in store.read()] == ["1", "2"]
    assert (path.parent / "done" / "a.jsonl").exists()


def test_half_sent_files_are_left_alone(tmp_path: Path) -> None:
    """Files still being written, hidden, of another kind or at the top are not taken."""
    put(tmp_path / "shop" / "new.jsonl", line(1), age=0)
    put(tmp_path / "shop" / ".hidden.jsonl", line(1))
    put(tmp_path / "shop" / "orders.jsonl.part", line(1))
    put(tmp_path / "top.jsonl", line(1))
    assert list(waiting(tmp_path)) == []
    ready = put(tmp_path / "shop" / "ready.jsonl", line(1))
    assert list(waiting(tmp_path)) == [("shop", ready)]


def test_a_file_that_cannot_be_read_is_kept_with_the_reason(tmp_path: Path, database: ConnectionPool) -> None:
    """A broken archive goes to failed/ with its reason beside it, and the next file is taken all the same."""
    put(tmp_path / "shop" / "broken.jsonl.gz", "this is no gzip")
    packed = gzip.compress((line(2) + "\n").encode() * 500)
    put(tmp_path / "shop" / "corrupt.jsonl.gz").write_bytes(packed[:40] + b"\x00" * 9 + packed[49:])
    os.utime(tmp_path / "shop" / "corrupt.jsonl.gz", (0, 0))
    put(tmp_path / "shop" / "fine.jsonl", line(1))
    landed = ingest_waiting(database, tmp_path)
    assert sorted(landed.failed) == ["shop/broken.jsonl.gz", "shop/corrupt.jsonl.gz"]
    assert landed.events["shop"].accepted == 1
    assert list(waiting(tmp_path)) == []
    reason = (tmp_path / "shop" / "failed" / "broken.jsonl.gz.reason.txt").read_text()
    assert "cannot be read" in reason


def test_an_unknown_kind_of_file_is_refused_in_one_line(tmp_path: Path, database: ConnectionPool) -> None:
    """The error names the file and the kinds that are read."""
    with pytest.raises(PipelinesError, match=r"orders\.xlsx: not a kind of file .*\.jsonl"):
        ingest_file(database, "shop", put(tmp_path / "orders.xlsx", "x"))
