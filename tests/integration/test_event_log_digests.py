"""Whoever changes the log is found out: digests of closed ranges, chained, with heads kept outside the database."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, Malformed, NewEvent, audit, audit_commands, digests

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
EVENTS = 100
SIZE = 25


def paid(number: int) -> NewEvent:
    """An `order_paid` event with texts that JSON must escape."""
    note = '"quoted" \\ tab\t line\n \x01 \x7f \N{SNOWMAN} \N{GRINNING FACE} \N{RIGHT-TO-LEFT OVERRIDE}'
    data = {"order_id": "1", "amount": 1.5, "note": note}
    return NewEvent(
        'test "\\ \x1f\t',
        f"\N{SNOWMAN}-{number}",
        f"order-{number % 3}",
        "order_paid",
        NOON + timedelta(microseconds=number),
        data,
        correlation_id=None if number % 2 else "one/request",
    )


@pytest.fixture
def closed(store: EventStore, database: ConnectionPool) -> ConnectionPool:
    """A log of a hundred events in ranges of 25 positions, the last of them not full."""
    store.append_batch("shop", [paid(number) for number in range(EVENTS)])
    assert store.settled_position() == EVENTS
    close(database)
    return database


def close(database: ConnectionPool) -> int:
    with database.connection() as connection:
        row = connection.execute("select event_log.make_digests(%s, '0')", [SIZE]).fetchone()
    assert row is not None
    return row[0]


def findings(database: ConnectionPool, home: Path) -> dict[str, audit.Finding]:
    return {one.check: one for one in audit.verify(database, home, home / "archive")}


def failed(database: ConnectionPool, home: Path) -> dict[str, str]:
    return {one.check: one.detail for one in findings(database, home).values() if not one.passed}


def as_superuser(settings: Settings, *statements: str) -> None:
    with psycopg.connect(connections.admin_url(settings)) as connection:
        connection.execute("set session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def test_a_whole_log_passes(closed: ConnectionPool, tmp_path: Path) -> None:
    """A log that nobody changed passes every check, and what is not closed yet is said."""
    digests.close_ranges(closed, tmp_path)
    assert failed(closed, tmp_path) == {}
    EventStore(closed).append_batch("shop", [paid(EVENTS + 1)])
    assert "what came after 100 is not closed yet" in findings(closed, tmp_path)["ranges"].detail
    with closed.connection() as connection:
        ranges = [(one.first_position, one.last_position, one.events) for one in digests.ranges(connection)]
    assert ranges == [(0, 24, 24), (25, 49, 25), (50, 74, 25), (75, 99, 25), (100, 100, 1)]


_TAMPERING = {
    "changed data": (
        "update event_log.events set data = jsonb_set(data, '{amount}', '2') where position = 30",
        "positions 25 to 49: an event was changed",
    ),
    "changed log time": (
        "update event_log.events set recorded_at = recorded_at + interval '1 microsecond' where position = 60",
        "positions 50 to 74: an event was changed",
    ),
    "changed version": (
        "update event_log.events set stream_version = 99 where position = 3",
        "positions 0 to 24: an event was changed",
    ),
    "changed correlation": (
        "update event_log.events set correlation_id = '' where position = 2",
        "positions 0 to 24: an event was changed",
    ),
    "two swapped": (
        """
        update event_log.events as e set event_id = o.event_id from event_log.events as o
        where e.position in (80, 81) and o.position = 161 - e.position
        """,
        "positions 75 to 99: an event was changed",
    ),
    "removed": ("delete from event_log.events where position = 99", "positions 75 to 99: 1 of 25 events were removed"),
    "inserted": (
        """
        insert into event_log.events
        select 0, tenant_id, source, 'new', stream_id, 50, event_type, schema_version, sequence, occurred_at,
            recorded_at, correlation_id, causation_id, data
        from event_log.events where position = 1
        """,
        "positions 0 to 24: 1 events were inserted beside 24",
    ),
}


@pytest.mark.parametrize("name", _TAMPERING)
def test_tampering_is_found_and_the_range_named(
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path, name: str
) -> None:
    """An event changed in any column, removed or inserted, even by a superuser, is found and its range named."""
    digests.close_ranges(closed, tmp_path)
    statement, detail = _TAMPERING[name]
    as_superuser(database_settings, statement)
    assert detail in failed(closed, tmp_path)["ranges"]


# What makes the digests agree with the events again, and then their chain with them, as one with all rights could.
_DIGEST_AGAIN = """
    update event_log.digests as d set (events, digest) =
        (select r.events, r.digest from event_log.range_digest(d.first_position, d.last_position) as r)
"""
_CHAIN_AGAIN = """
    do $$
    declare
        one record;
        before bytea;
    begin
        for one in select * from event_log.digests order by last_position loop
            before := event_log.chained(before, one.first_position, one.last_position, one.events, one.digest);
            update event_log.digests set chain = before where last_position = one.last_position;
        end loop;
    end
    $$
"""


def test_a_rewritten_chain_is_found_by_the_heads_outside(
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path
) -> None:
    """Who changes an event and all digests with it is found by the heads kept in a file, which name the range."""
    digests.close_ranges(closed, tmp_path)
    change = "update event_log.events set data = data || '{\"amount\": 2}' where position = 30"
    as_superuser(database_settings, change, _DIGEST_AGAIN, _CHAIN_AGAIN)
    wrong = failed(closed, tmp_path)
    assert list(wrong) == ["heads"]
    assert "positions 25 to 49: event_log.digests was rewritten" in wrong["heads"]


def test_a_digest_rewritten_alone_breaks_the_chain(
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path
) -> None:
    """Making one range agree with its changed events breaks the chain right there."""
    digests.close_ranges(closed, tmp_path)
    change = "update event_log.events set data = data || '{\"amount\": 2}' where position = 30"
    as_superuser(database_settings, change, _DIGEST_AGAIN)
    assert failed(closed, tmp_path)["chain"].startswith("positions 25 to 49: its head does not follow")


@pytest.mark.parametrize(
    ("last", "check", "detail"),
    [
        (49, "chain", "positions 50 to 74: the range before it, from 25 on, is missing"),
        (100, "heads", "the range that ends at 100 stands in"),
    ],
)
def test_a_removed_range_is_found(  # noqa: PLR0913, PLR0917 - a case has so many parts
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path, last: int, check: str, detail: str
) -> None:
    """A range taken out of the chain is missed, also the newest one with its events."""
    digests.close_ranges(closed, tmp_path)
    as_superuser(
        database_settings,
        f"delete from event_log.events where position = {last}",
        f"delete from event_log.digests where last_position = {last}",
    )
    assert detail in failed(closed, tmp_path)[check]


def test_identities_streams_and_quarantine_are_verified(
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path
) -> None:
    """An event without its identity, an identity without event, a gap in a stream and altered bytes are found."""
    EventStore(closed).append_batch("shop", [Malformed(b"x", "no JSON", "file:1")])
    digests.close_ranges(closed, tmp_path)
    as_superuser(database_settings, "update event_log.quarantine set bytes = 'y'")
    assert list(failed(closed, tmp_path)) == ["quarantine"]
    as_superuser(database_settings, "insert into event_log.event_ids values (7, 'shop', 'test', 'ghost')")
    assert "1 identities have no event" in failed(closed, tmp_path)["identities"]
    as_superuser(database_settings, "update event_log.event_ids set position = 8 where position = 9")
    assert "position 9" in failed(closed, tmp_path)["identities"]
    as_superuser(database_settings, "update event_log.streams set version = version + 1 where stream_id = 'order-1'")
    assert "shop/order-1" in failed(closed, tmp_path)["streams"]


def test_the_digest_depends_on_no_setting_and_python_computes_the_same(closed: ConnectionPool) -> None:
    """A session's time zone, date style, float digits and encoding change nothing, and Python's form is SQL's."""
    query = "select events, digest from event_log.range_digest(0, 1000)"
    with closed.connection() as connection:
        plain = connection.execute(query).fetchone()
        moments = [f"(extract(epoch from {name}) * 1000000)::bigint" for name in digests.COLUMNS[9:11]]
        columns = ", ".join([*digests.COLUMNS[:9], *moments, *digests.COLUMNS[11:13], "data::text"])
        rows = connection.execute(f"select {columns} from event_log.events order by position").fetchall()
        for setting in (
            "timezone = 'Asia/Kathmandu'",
            "datestyle = 'German'",
            "extra_float_digits = -15",
            "intervalstyle = 'sql_standard'",
            "bytea_output = 'escape'",
            "client_encoding = 'LATIN1'",
        ):
            connection.execute(f"set local {setting}")
        assert connection.execute(query).fetchone() == plain
    assert plain is not None
    assert (len(rows), hashlib.sha256(b"".join(map(digests.row_hash, rows))).digest()) == plain


def test_ranges_close_only_where_every_writer_has_ended(store: EventStore, database: ConnectionPool) -> None:
    """While a writer holds a position back no range reaches it, so what it commits is in a digest later."""
    store.append("shop", "order-1", [NewEvent("test", "first", "order-1", "order_paid", NOON, _DATA)])
    assert store.settled_position() == 1
    with database.connection() as writer, writer.transaction():
        late = NewEvent("test", "late", "order-2", "order_paid", NOON, _DATA)
        store.append("shop", "order-2", [late], connection=writer)
        with database.connection() as other:
            other.execute("select nextval('event_log.position_sequence') from generate_series(1, 200)")
        store.settled_position()
        close(database)
        with database.connection() as connection:
            assert [one.last_position for one in digests.ranges(connection)] == [1]
    store.settled_position()
    close(database)
    with database.connection() as connection:
        assert sum(one.events for one in digests.ranges(connection)) == 2


_DATA = {"order_id": "1", "amount": 1}


def test_a_range_that_is_not_full_waits(closed: ConnectionPool) -> None:
    """Frequent builds do not make a range each: what is not full is closed when an hour has passed."""
    store = EventStore(closed)
    store.append_batch("shop", [paid(EVENTS + 1)])
    store.settled_position()
    with closed.connection() as connection:
        assert connection.execute("select event_log.make_digests()").fetchone() == (0,)
    assert close(closed) == 1


def test_runtime_sessions_cannot_write_digests(closed: ConnectionPool) -> None:
    """Digests are made by the function alone, and never from a snapshot that may be too old."""
    for statement in ("delete from event_log.digests", "update event_log.digests set events = 0"):
        with closed.connection() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
    with closed.connection() as connection:
        connection.execute("set transaction isolation level repeatable read")
        with pytest.raises(psycopg.errors.RaiseException, match="read committed"):
            connection.execute("select event_log.make_digests()")


def test_heads_are_kept_once_by_their_owner_and_survive_a_torn_line(closed: ConnectionPool, tmp_path: Path) -> None:
    """The file grows by what is new, only its owner reads it, and a line that a crash cut off is written again."""
    digests.close_ranges(closed, tmp_path)
    path = digests.heads_file(tmp_path)
    whole = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    digests.close_ranges(closed, tmp_path)
    assert path.read_text() == whole
    path.write_text(whole[:-20])
    assert digests.close_ranges(closed, tmp_path) is not None
    assert failed(closed, tmp_path) == {}
    assert "5 heads" in findings(closed, tmp_path)["heads"].detail


def test_verify_says_so_when_no_head_is_at_hand(closed: ConnectionPool, tmp_path: Path) -> None:
    """Without the file nobody can tell a rewritten chain, so the check does not pass."""
    assert list(failed(closed, tmp_path)) == ["heads"]


def test_the_command_prints_findings_and_fails_with_them(
    closed: ConnectionPool, database_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipelines verify --json` prints every check and ends with 1 exactly when one has failed."""
    from analytics_pipelines import settings

    here = database_settings.model_copy(update={"home": tmp_path})
    monkeypatch.setattr(settings, "load_settings", lambda: here)
    digests.close_ranges(closed, tmp_path)
    result = CliRunner().invoke(audit_commands.verify, ["--json"])
    assert result.exit_code == 0
    assert {row["check"]: row["passed"] for row in json.loads(result.stdout)} == dict.fromkeys(
        ("ranges", "chain", "heads", "identities", "streams", "quarantine", "erasures"), True
    )
    as_superuser(database_settings, "delete from event_log.events where position = 30")
    result = CliRunner().invoke(audit_commands.verify, ["--tenant", "shop"])
    assert result.exit_code == 1
    assert "FAILED  ranges" in result.stdout
    assert "FAILED  streams" in result.stdout
