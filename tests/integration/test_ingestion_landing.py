"""The landing folder: each file once, whatever its name; nothing half-sent; nothing lost."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from decimal import Decimal
from typing import TYPE_CHECKING
from unittest.mock import ANY

import pyarrow as pa
import pytest
from click.testing import CliRunner
from dagster import AssetCheckSeverity, Definitions

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult, EventStore, erasure, quarantine
from analytics_pipelines.ingestion import demo, files
from analytics_pipelines.ingestion.assets import landing as landing_asset
from analytics_pipelines.ingestion.checks import CHECKS
from analytics_pipelines.ingestion.commands import ingest
from analytics_pipelines.ingestion.files import ingest_file
from analytics_pipelines.ingestion.landing import ingest_waiting, waiting
from analytics_pipelines.ingestion.once import PartlyReadError
from analytics_pipelines.ingestion.proposal import dry_run
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import Malformed, NewEvent
    from analytics_pipelines.ingestion.mapping import Mapping
    from analytics_pipelines.settings import Settings


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
        ids = connection.execute("select quarantine_id from event_log.quarantine").fetchall()
        kept = [quarantine.entry(connection, "shop", quarantine_id) for (quarantine_id,) in ids]
    assert sorted((row["kind"], row["origin"], row["bytes"].decode()) for row in kept) == [
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


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_dry_run_of_a_damaged_file_is_one_line(packing: str, tmp_path: Path) -> None:
    """What was cut off, altered on the way, or is no archive at all is told as the real run tells it."""
    whole = line(2).encode() * 500
    packed = gzip.compress(whole) if packing == ".gz" else pa.compress(whole, "zstd", asbytes=True)
    for content in (packed[:-9], packed[:40] + b"\xff" * 9 + packed[49:], b"this is no archive"):
        path = tmp_path / f"a.jsonl{packing}"
        path.write_bytes(content)
        with pytest.raises(PipelinesError, match=r"a\.jsonl\.\w+: cannot be read: [^\n]+; check the file and send it"):
            dry_run(path, [])


def test_without_the_master_key_files_wait(
    tmp_path: Path, database: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the file: the run fails with what to do, after the files that need no key."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path / "home"))
    key = os.environ["PIPELINES_MASTER_KEY"]
    monkeypatch.delenv("PIPELINES_MASTER_KEY")
    put(tmp_path / "shop" / "a.jsonl", "broken")  # what is refused is kept encrypted
    put(tmp_path / "shop" / "b.jsonl", line(1))
    with pytest.raises(PipelinesError, match="no master key is configured"):
        ingest_waiting(database, tmp_path)
    assert [path.name for _, path in waiting(tmp_path)] == ["a.jsonl"]
    assert (tmp_path / "shop" / "done" / "b.jsonl").exists()
    monkeypatch.setenv("PIPELINES_MASTER_KEY", key)
    assert ingest_waiting(database, tmp_path).events["shop"] == BatchResult(0, 0, 1)


def test_an_unknown_kind_of_file_is_refused_in_one_line(tmp_path: Path, database: ConnectionPool) -> None:
    """The error names the file and the kinds that are read."""
    with pytest.raises(PipelinesError, match=r"orders\.xlsx: not a kind of file .*\.jsonl"):
        ingest_file(database, "shop", put(tmp_path / "orders.xlsx", "x"))


MAPPING = """
source: billing
event_type: order_paid
event_id: "{id}"
stream: order-{id}
occurred_at: at
data: {order_id: id, amount: {column: amount, type: decimal}}
"""
TABLE = ("id,at,amount", "1,2017-06-01,1.50", "2,2017-06-01,much", "3,2017-06-02,2")


def test_tables_land_through_a_mapping_beside_them(tmp_path: Path, database: ConnectionPool, store: EventStore) -> None:
    """The tenant's mapping, or the file's own, makes events of rows; a bad row is kept with path, place and bytes."""
    put(tmp_path / "shop" / "a.csv", *TABLE)
    landed = ingest_waiting(database, tmp_path)
    assert "by a mapping" in landed.failed["shop/a.csv"]
    put(tmp_path / "shop" / "mapping.yaml", MAPPING)
    put(tmp_path / "shop" / "a.csv", *TABLE)
    put(tmp_path / "shop" / "b.jsonl", json.dumps({"id": "9", "at": "2017-06-03", "amount": 2.50}))
    put(tmp_path / "shop" / "b.jsonl.mapping.yaml", MAPPING)
    landed = ingest_waiting(database, tmp_path)
    assert landed.failed == {}
    assert landed.events["shop"] == BatchResult(3, 0, 1)
    assert [(event.event_id, event.data["amount"]) for event in store.read()] == [
        ("1", Decimal("1.50")), ("3", 2), ("9", Decimal("2.5")),
    ]  # fmt: skip
    with database.connection() as connection:
        [(quarantine_id,)] = connection.execute("select quarantine_id from event_log.quarantine").fetchall()
        row = quarantine.entry(connection, "shop", quarantine_id)
    assert row["reason"] == "data.amount: a text of length 4 is no number such as 1234.50"
    assert (row["origin"], row["bytes"]) == ("a.csv:3", b"2,2017-06-01,much")
    assert sorted(path.name for path in (tmp_path / "shop" / "done").iterdir()) == [
        "a.csv", "b.jsonl", "b.jsonl.mapping.yaml",
    ]  # fmt: skip
    assert (tmp_path / "shop" / "mapping.yaml").exists()


def test_a_file_sent_with_another_mapping_is_read_again(
    tmp_path: Path, database: ConnectionPool, store: EventStore
) -> None:
    """The same bytes through another mapping are other events; through the same one they are duplicates."""
    mapping, other = put(tmp_path / "m.yaml", MAPPING), put(tmp_path / "o.yaml", MAPPING.replace('"{id}"', '"x-{id}"'))
    path = put(tmp_path / "a.csv", *TABLE)
    assert ingest_file(database, "shop", path, mapping) == BatchResult(2, 0, 1)
    assert ingest_file(database, "shop", path, mapping) == BatchResult(0, 2, 1)
    assert ingest_file(database, "shop", path, other) == BatchResult(2, 0, 1)
    assert len(list(store.read())) == 4


def test_what_is_never_taken_is_named(tmp_path: Path, database: ConnectionPool) -> None:
    """Files of other kinds or of no tenant stay where they are and are listed, and folders; mappings and hidden not."""
    put(tmp_path / "astray.jsonl", line(1))
    put(tmp_path / "shop" / "orders.xlsx", "x")
    put(tmp_path / "shop" / "mapping.yaml", MAPPING)
    put(tmp_path / "shop" / "a.csv.mapping.yaml", MAPPING)
    put(tmp_path / "shop" / ".hidden", "x")
    put(tmp_path / "shop" / "2017" / "orders.jsonl", line(2))
    put(tmp_path / "shop" / "done" / "taken.jsonl", line(3))
    put(tmp_path / "shop" / "failed" / "broken.jsonl", "x")
    (tmp_path / "shop" / "empty").mkdir()
    landed = ingest_waiting(database, tmp_path)
    kinds = "it ends in none of .jsonl, .ndjson, .json, .csv, .tsv, .parquet, each also .gz or .zst"
    astray = "it is in no tenant's folder; move it into <tenant>/"
    put(tmp_path / "shop" / "slow.csv.part", "x")
    deeper = "it is a folder; move its files into shop/"
    named = {"astray.jsonl": astray, "shop/orders.xlsx": kinds, "shop/2017/": deeper}
    assert (landed.files, landed.ignored) == (0, named)


def test_an_event_that_is_not_accounted_for_fails_the_source(
    tmp_path: Path, database: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accepted + duplicates + quarantined is what was read, or the file is not remembered as ingested."""
    append = EventStore.append_batch

    def lose_one(store: EventStore, tenant_id: str, events: Iterable[NewEvent | Malformed]) -> BatchResult:
        result = append(store, tenant_id, events)
        return BatchResult(result.accepted - 1, result.duplicates, result.quarantined)

    path = put(tmp_path / "a.jsonl", line(1), line(2))
    with monkeypatch.context() as patch:
        patch.setattr(EventStore, "append_batch", lose_one)
        with pytest.raises(PipelinesError, match="2 events were sent and 1 accounted for"):
            ingest_file(database, "shop", path)
    assert ingest_file(database, "shop", path) == BatchResult(0, 2, 0)
    with database.connection() as connection:
        assert connection.execute("select duplicates from event_log.files").fetchall() == [(2,)]


def test_the_landing_asset_says_what_came_and_a_failed_file_warns(
    tmp_path: Path, database_settings: Settings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, positions, watermark and rate stand in the catalog; the check warns until the failed file is gone."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("PIPELINES_LANDING_FOLDER", str(tmp_path))
    put(tmp_path / "shop" / "a.jsonl", line(1), line(2), line(2), "broken")
    put(tmp_path / "shop" / "b.parquet", "no parquet")
    put(tmp_path / "shop" / "mapping.yaml", MAPPING)
    put(tmp_path / "shop" / "c.xlsx", "x")
    defs = Definitions([landing_asset], asset_checks=CHECKS, resources={"platform": Platform()})
    for is_clean in (False, True):
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance)
        (check,) = result.get_asset_check_evaluations()
        assert (check.check_name, check.passed, check.severity) == (
            "no_file_failed", is_clean, AssetCheckSeverity.WARN,
        )  # fmt: skip
        (materialized,) = result.get_asset_materialization_events()
        found = {name: item.value for name, item in materialized.materialization.metadata.items()}
        if not is_clean:
            assert (found["sent"], found["accepted"], found["duplicates"], found["quarantined"]) == (4, 2, 1, 1)
            assert (found["positions"], found["ignored"]) == ("(0, 2]", {"shop/c.xlsx": ANY})
            assert found["watermarks"] == {"shop": "2017-06-01T12:00:00+00:00"}
            assert found["events_per_second"] > 0
            assert list(found["failed"]) == ["shop/b.parquet"]
            (tmp_path / "shop" / "failed" / "b.parquet").unlink()


@pytest.mark.prove
def test_memory_stays_bounded_with_a_large_file(tmp_path: Path, database_settings: Settings) -> None:
    """A process that ingests a file needs at most 400 MB, however long the file is."""
    events = 1_000_000 if "PROVE" in os.environ else 30_000
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        file.writelines(line(number) + "\n" for number in range(events))
    code = (
        "import sys; from pathlib import Path; from analytics_pipelines.settings import load_settings;"
        "from analytics_pipelines.connections import open_pool;"
        "from analytics_pipelines.ingestion.files import ingest_file\n"
        "with open_pool(load_settings()) as pool: print(ingest_file(pool, 'shop', Path(sys.argv[1])).accepted)\n"
        "print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) // 1024)"  # not a parent's
    )
    assert database_settings.database_url is not None
    environment = {**os.environ, "PIPELINES_DATABASE_URL": database_settings.database_url.get_secret_value()}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=environment, check=True, capture_output=True, text=True
    )
    accepted, megabytes = (int(number) for number in done.stdout.split())
    print(f"ingest: {accepted} events, at most {megabytes} MB")  # noqa: T201 - `make prove`
    assert accepted == events
    assert megabytes <= 400


def test_the_command_takes_files_standard_input_and_a_dry_run(
    tmp_path: Path, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts as JSON, exit code 0 with quarantined events and how to see why; folders are refused, 2."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    table, mapping = put(tmp_path / "a.csv", *TABLE), put(tmp_path / "m.yaml", MAPPING)
    run = CliRunner().invoke
    tried = run(ingest, [str(table), "--tenant", "shop", "--mapping", str(mapping), "--dry-run", "--json"])
    assert json.loads(tried.stdout)["events"] == {"order_paid": 2}
    assert '"data":{"order_id":"1","amount":1.50}' in tried.stdout
    both = run(ingest, [str(table)] * 2 + ["--tenant", "shop", "--mapping", str(mapping), "--dry-run", "--json"])
    assert json.loads(both.stdout) == [json.loads(tried.stdout)] * 2
    done = run(ingest, [str(table), "--tenant", "shop", "--mapping", str(mapping)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("2 accepted, 0 duplicates, 1 quarantined in ")
    assert "pipelines quarantine list --tenant shop" in done.stderr
    piped = run(ingest, ["-", "--tenant", "shop", "--json"], input=f"{line(1)}\n{line(2)}\nbroken\n")
    counts = json.loads(piped.stdout)
    assert {name: counts[name] for name in ("accepted", "duplicates", "quarantined")} == {
        "accepted": 2, "duplicates": 0, "quarantined": 1,
    }  # fmt: skip
    refused = run(ingest, [str(tmp_path), "--tenant", "shop"])
    assert (refused.exit_code, "is a directory" in refused.stderr) == (2, True)


def test_a_file_that_cannot_be_read_keeps_no_other_from_being_read(
    tmp_path: Path, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several files the readable ones are ingested and counted; each other is named, and the exit code is 1."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    names = [put(tmp_path / "a.jsonl.gz", "x"), put(tmp_path / "b.xlsx", "x"), put(tmp_path / "c.jsonl", line(1))]
    done = subprocess.run(
        [sys.executable, "-m", "analytics_pipelines.cli", "ingest", *map(str, names), "--tenant", "shop"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[:10]) == (1, "1 accepted")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {names[0]}: cannot be read")
    assert second.startswith(f"error: {names[1]}: not a kind of file")


def test_what_was_read_of_a_damaged_file_is_counted(
    tmp_path: Path, database: ConnectionPool, store: EventStore
) -> None:
    """Accepted, duplicate and quarantined stand beside the error; the whole file then adds just the rest."""
    packed = gzip.compress("\n".join([*map(line, range(30_000)), "broken"]).encode(), compresslevel=1)
    cut = tmp_path / "shop" / "a.jsonl.gz"
    cut.parent.mkdir()
    cut.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(PartlyReadError, match=r"of what was read before: [0-9,]+ accepted, 0 duplicates") as first:
        ingest_file(database, "shop", cut)
    read = first.value.result
    assert 1_000 < read.accepted < 29_000
    assert sum(1 for _ in store.read()) == read.accepted
    os.utime(cut, (time.time() - 10, time.time() - 10))
    landed = ingest_waiting(database, tmp_path)
    assert landed.events["shop"] == BatchResult(0, read.accepted, read.quarantined)
    assert f"{read.accepted:,} duplicates" in landed.failed["shop/a.jsonl.gz"]
    cut.write_bytes(packed)
    assert ingest_file(database, "shop", cut) == BatchResult(30_000 - read.accepted, read.accepted, 1)


def test_an_erasure_leaves_the_demo_in_the_log(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After somebody of a demo tenant was erased, a build does not take its events for missing."""
    monkeypatch.setattr(demo, "SIMULATED_EVENTS", 300)
    assert demo.missing(database) == ["grocer", "saas"]
    assert demo.ingest_saas(database).accepted > 0
    erasure.erase(database, database_settings, "saas", "lead-1")
    assert demo.missing(database) == ["grocer"]
