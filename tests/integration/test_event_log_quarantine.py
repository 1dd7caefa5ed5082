"""What the log refused is kept, shown, and put through again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from psycopg.rows import dict_row

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, Malformed, NewEvent, audit_commands, quarantine
from analytics_pipelines.event_log import store as store_module
from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog
from analytics_pipelines.ingestion.files import parse_event

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def event(number: int, event_type: str = "order_refunded_twice", **data: Any) -> NewEvent:
    """An event of a type that no catalog knows yet; two streams share the numbers."""
    content = {"order_id": "1", "amount": Decimal("1.10"), **data}
    return NewEvent("test", f"e{number}", f"order-{number % 2}", event_type, NOON + timedelta(seconds=number), content)


def line(number: int, **changes: object) -> bytes:
    """The same as a CloudEvents line."""
    sent = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "test",
        "type": "order_refunded_twice",
        "subject": f"order-{number % 2}",
        "time": (NOON + timedelta(seconds=number)).isoformat(),
        "data": {"order_id": "1", "amount": 1.1},
        **changes,
    }
    return json.dumps(sent).encode()


def rows(database: ConnectionPool) -> list[dict[str, Any]]:
    with database.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from event_log.quarantine order by quarantine_id").fetchall()


@pytest.fixture
def fix(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to add the missing type to the catalog."""

    def add() -> None:
        known = {**BUILT_IN.validators, ("order_refunded_twice", 1): BUILT_IN.validators["order_paid", 1]}
        for module in (quarantine, store_module):
            monkeypatch.setattr(module, "configured_catalog", lambda: Catalog(known, BUILT_IN.personal, {}))

    return add


def test_redriven_events_enter_the_log_in_their_order(store: EventStore, database: ConnectionPool, fix: Any) -> None:
    """After a fix both kinds of kept bytes become the events that were sent, in their order, and nothing is deleted."""
    store.append_batch("shop", [event(number) for number in range(5)])
    store.append_batch("shop", [parse_event(line(number), "file:1") for number in range(5, 10)])
    assert len(rows(database)) == 10
    fix()
    result = quarantine.redrive(database, tenant_id="shop")
    assert (result.accepted, result.duplicates, result.quarantined) == (10, 0, 0)
    entered = list(store.read(tenant_id="shop"))
    assert [one.event_id for one in entered] == [f"e{number}" for number in range(10)]
    assert [one.stream_version for one in entered if one.stream_id == "order-0"] == [1, 2, 3, 4, 5]
    assert {one.data["amount"] for one in entered} == {Decimal("1.1")}
    assert str(entered[0].data["amount"]) == "1.10"
    kept = rows(database)
    assert [row["outcome"] for row in kept] == ["accepted"] * 10
    assert all(row["redriven_at"] is not None for row in kept)
    again = quarantine.redrive(database)
    assert again.sent == 0


def test_what_is_still_wrong_is_quarantined_again_once(store: EventStore, database: ConnectionPool, fix: Any) -> None:
    """An entry that is refused again carries the new kind and reason, stays one row, and waits for the next time."""
    store.append_batch("shop", [event(1, amount="much"), event(2), Malformed(b"\xff", "no JSON", "file:7")])
    fix()
    result = quarantine.redrive(database)
    assert (result.accepted, result.duplicates, result.quarantined) == (1, 0, 2)
    wrong, fine, bytes_ = rows(database)
    assert (wrong["kind"], wrong["outcome"]) == ("invalid", "quarantined")
    assert wrong["reason"].startswith("data.amount:")
    assert fine["outcome"] == "accepted"
    assert (bytes_["kind"], bytes_["outcome"], bytes_["origin"]) == ("malformed", "quarantined", "file:7")
    assert bytes_["reason"] == "no JSON"  # as its reader found it
    assert quarantine.redrive(database, kind="invalid").quarantined == 1
    assert len(rows(database)) == 3


def test_a_duplicate_and_a_conflict_are_told_apart(store: EventStore, database: ConnectionPool, fix: Any) -> None:
    """What came in meanwhile under the same identity makes an entry a duplicate, or a conflict if it says other."""
    store.append_batch("shop", [event(1), event(2)])
    fix()
    EventStore(database).append_batch("shop", [event(1), event(2, amount=Decimal(7))])
    result = quarantine.redrive(database)
    assert (result.accepted, result.duplicates, result.quarantined) == (0, 1, 1)
    first, second = rows(database)
    assert (first["outcome"], second["outcome"], second["kind"]) == ("duplicate", "quarantined", "conflict")


def test_a_conflict_is_put_through_only_when_asked_for(store: EventStore, database: ConnectionPool) -> None:
    """Redriving everything leaves conflicts alone; by id one is tried, and stays what it is."""
    store.append_batch("shop", [event(1, "order_paid"), event(1, "order_paid", amount=Decimal(2))])
    assert quarantine.redrive(database).sent == 0
    (conflict,) = rows(database)
    result = quarantine.redrive(database, tenant_id="shop", ids=[conflict["quarantine_id"]])
    assert (result.accepted, result.duplicates, result.quarantined) == (0, 0, 1)
    assert [row["outcome"] for row in rows(database)] == ["quarantined"]
    with pytest.raises(PipelinesError, match="other has no quarantined event"):
        quarantine.redrive(database, tenant_id="other", ids=[conflict["quarantine_id"]])


def test_what_postgres_refuses_does_not_stop_its_neighbours(
    store: EventStore, database: ConnectionPool, fix: Any
) -> None:
    """A value that only Postgres can refuse ends as quarantined again; the entries around it enter the log."""
    huge = NewEvent(
        "test", "huge", "order-1", "order_refunded_twice", NOON, '{"order_id": "1", "amount": 1, "note": -1e400000}'
    )
    store.append_batch("shop", [event(1), huge, event(3)])
    fix()
    result = quarantine.redrive(database)
    assert (result.accepted, result.duplicates, result.quarantined) == (2, 0, 1)
    assert [row["kind"] for row in rows(database)] == ["unknown_type", "invalid", "unknown_type"]


def test_bytes_that_only_look_like_an_event_are_refused(store: EventStore, database: ConnectionPool) -> None:
    """Bytes with the names of an event's fields and values of other kinds are quarantined again, not a crash."""
    names = dict.fromkeys(quarantine._KEPT_FIELDS, 5)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    store.append_batch("shop", [Malformed(json.dumps(names).encode(), "no event", "file:1")])
    assert quarantine.redrive(database).quarantined == 1


def test_the_same_bytes_of_two_kinds_stay_two_entries(store: EventStore, database: ConnectionPool, fix: Any) -> None:
    """Two entries with the same bytes that come to the same kind do not stop the redrive."""
    wrong = line(1, data={"order_id": "1", "amount": "much"})
    store.append_batch("shop", [Malformed(wrong, "read too early", "file:1"), parse_event(wrong, "file:2")])
    fix()
    assert quarantine.redrive(database).quarantined == 2
    assert sorted(row["kind"] for row in rows(database)) == ["invalid", "unknown_type"]
    assert all(row["reason"].startswith("data.amount") for row in rows(database))


def test_runtime_sessions_cannot_change_the_quarantine(store: EventStore, database: ConnectionPool) -> None:
    """Bytes and digests of what was refused cannot be written over."""
    store.append_batch("shop", [event(1)])
    with database.connection() as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute("update event_log.quarantine set bytes = ''")


def test_the_commands_list_show_and_redrive(
    store: EventStore, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands print what is kept, as text where it is text, and what became of it."""
    from analytics_pipelines import settings

    monkeypatch.setattr(settings, "load_settings", lambda: database_settings)
    runner = CliRunner()
    assert _run(runner, audit_commands.quarantine, "list") == "no refused event\n"
    store.append_batch("shop", [event(1), event(2), Malformed(b"\xff\xfe", "column 12: no JSON", "file:7")])

    listed = json.loads(_run(runner, audit_commands.quarantine, "list", "--json"))
    assert [entry["kind"] for entry in listed["entries"]] == ["malformed", "unknown_type", "unknown_type"]
    assert {(group["kind"], group["reason"], group["events"]) for group in listed["counts"]} == {
        ("unknown_type", "type: order_refunded_twice version 1 is not in the catalog", 2),
        ("malformed", "column #: no JSON", 1),
    }
    newest = str(listed["entries"][0]["quarantine_id"])
    shown = json.loads(_run(runner, audit_commands.quarantine, "show", newest, "--tenant", "shop", "--json"))
    assert (shown["base64"], shown["origin"], shown["reason"]) == ("//4=", "file:7", "column 12: no JSON")
    oldest = str(listed["entries"][-1]["quarantine_id"])
    shown = json.loads(_run(runner, audit_commands.quarantine, "show", oldest, "--tenant", "shop", "--json"))
    assert json.loads(shown["text"])["event_id"] == "e1"
    told = json.loads(_run(runner, audit_commands.redrive, "--tenant", "shop", "--json"))
    assert told == {"redriven": 3, "accepted": 0, "duplicates": 0, "quarantined": 3}
    listed_again = _run(runner, audit_commands.quarantine, "list")
    assert "[redriven: quarantined]" in listed_again
    assert listed_again.split()[:4] == ["events", "waiting", "kind", "reason"]


def _run(runner: CliRunner, command: Any, *arguments: str) -> str:
    result = runner.invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_is_dismissed_waits_no_longer(
    store: EventStore, database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch, fix: Any
) -> None:
    """By file, place, kind or id; the entry stays and a redrive passes it over, unless it is asked for by its id."""
    monkeypatch.setattr("analytics_pipelines.settings.load_settings", lambda: database_settings)
    of_files = [parse_event(line(number), f"{name}:{number}") for name in ("a.csv", "a.csv.gz") for number in (1, 2)]
    store.append_batch("shop", [*(replace(one, source=f"{one.origin}", raw=None) for one in of_files), event(7)])
    waiting = [row["quarantine_id"] for row in rows(database)]
    assert quarantine.dismiss(database, "other", kind="unknown_type") == 0
    assert quarantine.dismiss(database, "shop", origin="a.csv") == 2
    assert quarantine.dismiss(database, "shop", origin="a.csv") == 0
    assert quarantine.dismiss(database, "shop", origin="a.csv.gz:2") == 1
    assert quarantine.dismiss(database, "shop", ids=waiting[-1:], kind="conflict") == 0
    runner = CliRunner()
    assert _run(runner, audit_commands.quarantine, "dismiss", "--tenant", "shop", "--id", str(waiting[-1])) == (
        "1 dismissed\n"
    )
    assert "[dismissed]" in _run(runner, audit_commands.quarantine, "list")
    assert runner.invoke(audit_commands.quarantine, ["dismiss", "--tenant", "shop"]).exit_code == 2
    assert [row["outcome"] for row in rows(database)] == ["dismissed", "dismissed", None, "dismissed", "dismissed"]
    with database.connection() as connection:
        assert [group["waiting"] for group in quarantine.listing(connection)["counts"]] == [1]
    store.append_batch("shop", [replace(of_files[0], source="a.csv:1", raw=None)])
    store.append_batch("else", [replace(of_files[1], source="a.csv:2", raw=None)])
    assert [row["outcome"] for row in rows(database)][:2] == [None, "dismissed"]  # refused again, it waits again
    assert quarantine.dismiss(database, "shop", origin="a.csv:1") == 1
    fix()
    assert quarantine.redrive(database, tenant_id="shop").accepted == 1
    assert quarantine.redrive(database, tenant_id="shop", ids=waiting[-1:]).accepted == 1
    assert quarantine.dismiss(database, "shop", kind="unknown_type") == 0  # those that were let in stay so
    of_shop = [row["outcome"] for row in rows(database) if row["tenant_id"] == "shop"]
    assert of_shop == ["dismissed", "dismissed", "accepted", "dismissed", "accepted"]
