"""A partition leaves the log only when its export is proved, and what was in it is still known."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import psycopg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from analytics_pipelines import connections, progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import (
    EventStore,
    InvalidEventError,
    NewEvent,
    audit,
    audit_commands,
    digests,
    statistics,
)
from analytics_pipelines.event_log import partitions as log_partitions

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
FIRST = "events_first"
END = 10_000_000


def paid(number: int, amount: object = Decimal("1.50")) -> NewEvent:
    """An `order_paid` event with a text that JSON must escape; three streams share the numbers."""
    data = {"order_id": "1", "amount": amount, "note": f'"{number}" \\ \x7f \N{SNOWMAN}'}
    moment = NOON + timedelta(microseconds=number)
    return NewEvent("test", f"payment-{number}", f"order-{number % 3}", "order_paid", moment, data)


@pytest.fixture
def full(store: EventStore, database: ConnectionPool, database_settings: Settings, tmp_path: Path) -> ConnectionPool:
    """A log whose first partition is closed: thirty events in it, ten after it, and digests of all."""
    with database.connection() as connection:
        connection.execute("select event_log.make_partitions(%s, 1000)", [END + 500])
    store.append_batch("shop", [paid(number) for number in range(30)])
    with psycopg.connect(connections.admin_url(database_settings)) as connection:
        connection.execute(f"select setval('event_log.position_sequence', {END - 1})")
    store.append_batch("shop", [paid(number) for number in range(30, 40)])
    assert store.settled_position() == END + 9
    with database.connection() as connection:
        connection.execute("select event_log.make_digests(4000000, '0')")
    digests.close_ranges(database, tmp_path)
    return database


def test_an_export_holds_every_column_of_every_row(full: ConnectionPool, tmp_path: Path) -> None:
    """The file has what the log has, in its order, and its digests are those of the log."""
    path, found = log_partitions.export(full, FIRST, tmp_path / "archive")
    columns = ", ".join([*digests.COLUMNS[:-1], "data::text as data"])
    with full.connection() as connection, connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        query = f"select {columns} from event_log.events where position < %s order by position"
        stored = cursor.execute(query, [END]).fetchall()
    assert pq.read_table(path).to_pylist() == stored
    assert (found.events, found.differs, path.stat().st_mode & 0o777) == (30, None, 0o600)


def test_what_was_detached_is_still_known(full: ConnectionPool, store: EventStore, tmp_path: Path) -> None:
    """After a detach its events are read no more; sent again they are duplicates, and conflicts when they differ."""
    archive = tmp_path / "archive"
    log_partitions.export(full, FIRST, archive)
    assert log_partitions.detach(full, FIRST, archive) == 30
    assert [event.event_id for event in store.read()] == [f"payment-{number}" for number in range(30, 40)]

    result = store.append_batch("shop", [paid(1), paid(31), paid(2, Decimal(9)), paid(32, Decimal(9))])
    assert (result.accepted, result.duplicates, result.quarantined) == (0, 2, 2)
    assert store.append("shop", "order-1", [paid(1, Decimal("1.5"))]) == 13
    with pytest.raises(InvalidEventError, match="other content"):
        store.append("shop", "order-1", [paid(1, Decimal(9))])
    assert store.append("shop", "order-1", [paid(40)]) == 14
    store.settled_position()

    found = {one.check: one for one in audit.verify(full, tmp_path, archive)}
    assert [one for one in found.values() if not one.passed] == []
    assert found["archive"].detail == "events_first: 30 events"
    (archive / "events_first.parquet").rename(archive / "elsewhere")
    found = {one.check: one for one in audit.verify(full, tmp_path, archive)}
    assert found["archive"].passed
    assert "not at hand, not verified" in found["archive"].detail


def test_a_detach_leaves_no_gap_in_a_stream(full: ConnectionPool, database_settings: Settings, tmp_path: Path) -> None:
    """The oldest event that is left follows none; one that is missing between two is a gap, before and after."""
    assert gaps(full) == []
    archive = tmp_path / "archive"
    log_partitions.export(full, FIRST, archive)
    log_partitions.detach(full, FIRST, archive)
    assert gaps(full) == []
    remove(database_settings, "payment-34")
    assert gaps(full) == ["shop/order-1"]


def test_an_event_that_is_missing_between_two_is_a_gap(full: ConnectionPool, database_settings: Settings) -> None:
    """The version before another is missed, and the first of a stream."""
    remove(database_settings, "payment-0", "payment-35")
    assert gaps(full) == ["shop/order-0", "shop/order-2"]


def gaps(pool: ConnectionPool) -> list[str]:
    with pool.connection() as connection:
        progress.set_position(connection, END + 9)
        return statistics.streams_with_gaps(connection)


def remove(settings: Settings, *event_ids: str) -> None:
    with psycopg.connect(connections.admin_url(settings)) as connection:
        connection.execute("set session_replication_role = replica")
        removed = connection.execute("delete from event_log.events where event_id = any(%s)", [list(event_ids)])
        assert removed.rowcount == len(event_ids)


def test_a_changed_export_is_found(full: ConnectionPool, tmp_path: Path) -> None:
    """A file that does not hold what the log held is refused before a detach and found after it."""
    path, _ = log_partitions.export(full, FIRST, tmp_path / "archive")
    whole = path.read_bytes()
    table = pq.read_table(path)
    for wrong in (table.slice(1), table.set_column(5, "stream_version", table["position"].cast("int32"))):
        pq.write_table(wrong, path)
        with pytest.raises(PipelinesError, match="differs from the log's digest between positions 0 and 3999999"):
            log_partitions.detach(full, FIRST, path.parent)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PipelinesError, match="cannot be read as an export"):
        log_partitions.detach(full, FIRST, path.parent)
    path.write_bytes(whole)
    log_partitions.detach(full, FIRST, path.parent)
    pq.write_table(table.slice(1), path)
    found = {one.check: one for one in audit.verify(full, tmp_path, path.parent)}
    assert not found["archive"].passed
    assert "between 0 and 3999999" in found["archive"].detail
    path.write_bytes(b"")
    found = {one.check: one for one in audit.verify(full, tmp_path, path.parent)}
    assert "cannot be read as an export" in found["archive"].detail


_SHA = "0" * 64


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["events_none", _SHA, 30, b""], "is no partition of the log"),
        ([f"events_from_{END}", _SHA, 10, b""], "is not the oldest partition"),
        ([FIRST, "no digest", 30, b""], "needs the SHA-256 of its export"),
        ([FIRST, _SHA, 30, b"wrong"], "holds other events than the log"),
        ([FIRST, _SHA, None, None], "holds other events than the log"),
    ],
)
def test_the_database_itself_demands_a_proved_export(
    full: ConnectionPool, arguments: list[object], reason: str
) -> None:
    """Whoever calls the function without the digests of the rows that the log has is refused."""
    with full.connection() as connection, pytest.raises(psycopg.DatabaseError, match=reason):
        connection.execute("select event_log.detach_partition(%s, %s, %s, %s)", arguments)


def test_only_a_closed_and_digested_partition_leaves(
    store: EventStore, database: ConnectionPool, database_settings: Settings, tmp_path: Path
) -> None:
    """A partition into which events may still come, or whose digests are not made, is neither exported nor detached."""
    store.append_batch("shop", [paid(1)])
    store.settled_position()
    call = "select event_log.detach_partition(%s, %s, 1, '')"
    with pytest.raises(PipelinesError, match="is not closed"):
        log_partitions.export(database, FIRST, tmp_path)
    with database.connection() as connection, pytest.raises(psycopg.DatabaseError, match="is not closed"):
        connection.execute(call, [FIRST, _SHA])
    with psycopg.connect(connections.admin_url(database_settings)) as connection:
        connection.execute(f"select setval('event_log.position_sequence', {END})")
    store.settled_position()
    with pytest.raises(PipelinesError, match="has no digest"):
        log_partitions.export(database, FIRST, tmp_path)
    with database.connection() as connection, pytest.raises(psycopg.DatabaseError, match="has no digest"):
        connection.execute(call, [FIRST, _SHA])
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_partition_with_a_changed_event_stays(
    full: ConnectionPool, database_settings: Settings, tmp_path: Path
) -> None:
    """What differs from its digest does not leave, or the proof would leave with it."""
    path, found = log_partitions.export(full, FIRST, tmp_path)
    with psycopg.connect(connections.admin_url(database_settings)) as connection:
        connection.execute("update event_log.events set correlation_id = 'x' where position = 5")
    with pytest.raises(PipelinesError, match="differs from its digest between 0 and 3999999"):
        log_partitions.detach(full, FIRST, path.parent)
    with pytest.raises(PipelinesError, match="differs from the log's digest"):
        log_partitions.export(full, FIRST, tmp_path)
    assert found.events == 30


def test_a_reader_that_is_behind_keeps_the_partition(full: ConnectionPool, tmp_path: Path) -> None:
    """No projection or saga loses what it has not read: a partition it still has to read stays."""
    log_partitions.export(full, FIRST, tmp_path)
    with full.connection() as connection:
        connection.execute("insert into progress.checkpoints values ('*', 'sagas/slow', 12)")
    with pytest.raises(PipelinesError, match="still to be read by \\* sagas/slow"):
        log_partitions.detach(full, FIRST, tmp_path)


def test_a_detached_table_is_out_of_reach_of_the_platform(full: ConnectionPool, tmp_path: Path) -> None:
    """The rows stay until an administrator drops them; no session of the platform can read, change or drop them."""
    log_partitions.export(full, FIRST, tmp_path)
    log_partitions.detach(full, FIRST, tmp_path)
    for statement in ("select from event_log.events_first", "drop table event_log.events_first"):
        with full.connection() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    with pytest.raises(PipelinesError, match="no partition of the log"):
        log_partitions.detach(full, FIRST, tmp_path)


def test_a_busy_table_is_waited_for(full: ConnectionPool, tmp_path: Path) -> None:
    """A session that reads the log delays a detach; it goes through when that has ended, with nothing done twice."""
    from concurrent.futures import ThreadPoolExecutor

    log_partitions.export(full, FIRST, tmp_path)
    with ThreadPoolExecutor(1) as other:
        with full.connection() as reader:
            assert reader.execute("select count(*) from event_log.events").fetchone() == (40,)
            leaving = other.submit(log_partitions.detach, full, FIRST, tmp_path)
            with pytest.raises(TimeoutError):
                leaving.result(timeout=2)
        assert leaving.result() == 30


def test_the_commands_list_export_and_detach(
    full: ConnectionPool, database_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands do in turn what an operator does, with exports under the state folder."""
    from analytics_pipelines import settings

    here = database_settings.model_copy(update={"home": tmp_path})
    monkeypatch.setattr(settings, "load_settings", lambda: here)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(audit_commands.PARTITIONS_GROUP, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    status = {row["partition"]: row["status"] for row in json.loads(run("list", "--json"))}
    assert (status[FIRST], status[f"events_from_{END}"]) == ("closed", "open")
    told = json.loads(run("export", FIRST, "--json"))
    assert (told["events"], told["file"]) == (30, str(tmp_path / "archive" / "events_first.parquet"))
    assert "30 events left the log" in run("detach", FIRST)
    listed = {row["partition"]: row for row in json.loads(run("list", "--json"))}
    assert (listed[FIRST]["status"], listed[FIRST]["export_digest"]) == ("detached", told["sha256"])
    assert f"{FIRST}  positions 0 to 9,999,999  detached" in run("list")
