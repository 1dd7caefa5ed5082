"""Personal data in the real database: sealed, revealed, erased for good."""

from __future__ import annotations

import base64
import json
import os
import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from click.testing import CliRunner
from dagster import materialize

from analytics_pipelines import connections
from analytics_pipelines.cli import pipelines
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, InvalidEventError, Malformed, NewEvent, audit, quarantine
from analytics_pipelines.event_log import erasure as erasures
from analytics_pipelines.event_log.assets import after
from analytics_pipelines.event_log.encryption import (
    Encrypted,
    Erased,
    MasterKeys,
    load_master_keys,
    new_master_key,
)
from analytics_pipelines.event_log.profile import refresh_profiles
from analytics_pipelines.event_log.vault import Vault
from analytics_pipelines.ingestion import landing
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
NAME, EMAIL = "Ann Unmistakable", "ann.unmistakable@Secret-Example.COM"


def lead(number: int = 1, event_id: str | None = None, **data: Any) -> NewEvent:
    """A lead with a name and an address."""
    fields: dict[str, Any] = {
        "lead_id": str(number), "company_id": "c", "company": "C", "industry": "i", "company_size": 5,
        "lead_source": "web", "score": Decimal("1.50"), "name": f"{NAME} {number}", "email": EMAIL, **data,
    }  # fmt: skip
    return NewEvent("test", event_id or f"lead-{number}", f"lead-{number}", "lead_created", NOON, fields)


def dump(settings: Settings) -> str:
    """Everything in the database as text, bytes in both forms."""
    texts: list[str] = []
    with psycopg.connect(connections.admin_url(settings)) as admin:
        tables = admin.execute(
            "select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace "
            "where c.relkind in ('r', 'm') and n.nspname not like 'pg_%' and n.nspname <> 'information_schema'"
        ).fetchall()
        for (table,) in tables:
            texts += [text for (text,) in admin.execute(f"select t::text from {table} as t")]
        texts += [
            bytes(content).decode("utf-8", "replace")
            for (content,) in admin.execute("select bytes from event_log.quarantine")
        ]
    return "\n".join(texts)


@pytest.fixture
def settings(database_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a state folder of their own, which the command line finds too."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    return database_settings.model_copy(update={"home": tmp_path})


def readable(text: str) -> list[str]:
    """The parts of the person's values that stand in a text."""
    folded = text.lower()
    return [part for part in ("unmistakable", "ann.") if part in folded]


@pytest.mark.parametrize("way", ["append", "append_batch", "append_batch of text"])
def test_personal_values_are_stored_sealed_and_read_in_full(store: EventStore, settings: Settings, way: str) -> None:
    """No table holds a readable value; a reader with the master key gets it, and every digit of the rest."""
    if way == "append":
        store.append("shop", "lead-1", [lead()])
    elif way == "append_batch":
        assert store.append_batch("shop", [lead()]).accepted == 1
    else:
        text = json.dumps({**lead().data, "score": 0}).replace('"score": 0', '"score": 1.50')  # pyright: ignore[reportGeneralTypeIssues]
        event = NewEvent("test", "lead-1", "lead-1", "lead_created", NOON, text)
        assert store.append_batch("shop", [event]).accepted == 1
    assert readable(dump(settings)) == []
    (event,) = store.read()
    assert (event.data["name"], event.data["email"]) == (f"{NAME} 1", EMAIL)
    assert str(event.data["score"]) == "1.50"
    assert event.data["email_domain"] == "secret-example.com"


def test_an_event_sent_again_is_a_duplicate(store: EventStore, settings: Settings) -> None:
    """Sealed twice it is the same, by any way in and in another process; another value is a conflict."""
    events = [lead(number) for number in range(20)]
    assert store.append_batch("shop", events).accepted == 20
    assert store.append_batch("shop", events[::-1]).duplicates == 20
    with connections.open_pool(settings) as pool:
        other = EventStore(pool)
        assert other.append_batch("shop", events).duplicates == 20
        assert other.append("shop", "lead-3", [lead(3)]) == 1
        with pytest.raises(InvalidEventError, match="other content"):
            other.append("shop", "lead-3", [lead(3, name="Bob")])
    assert store.append_batch("shop", [lead(3, email="b@x.example")]).quarantined == 1
    assert readable(dump(settings)) == []


def test_writers_make_one_key_for_a_subject(store: EventStore, database: ConnectionPool) -> None:
    """Racing writers of the same new subjects agree on their keys, and all can be read."""
    rounds = 8

    def write(writer: int) -> None:
        for number in range(rounds):
            store.append_batch(
                "shop", [lead(n, f"{writer}-{number}-{n}") for n in range(number * 50, number * 50 + 50)]
            )

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = list(store.read())
    assert len(events) == 4 * rounds * 50
    assert {event.data["name"] for event in events} == {f"{NAME} {number}" for number in range(rounds * 50)}


def test_a_sealed_value_that_is_sent_is_refused(store: EventStore, database: ConnectionPool) -> None:
    """Nobody can pose as the log: a sealed value in a payload is quarantined, whatever field it is in."""
    store.append_batch("shop", [lead()])
    with database.connection() as connection:
        row = connection.execute("select data -> 'name' from event_log.events").fetchone()
    assert row is not None
    forged = [lead(2, name=row[0]), lead(3, note=row[0]), lead(4, note={"\u0024encrypted": 1})]
    assert store.append_batch("shop", forged).quarantined == 3
    with pytest.raises(InvalidEventError, match="the log's own word"):
        store.append("shop", "lead-2", [forged[0]])


def test_without_a_master_key_nothing_personal_is_written(
    database: ConnectionPool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear error, before anything is written; events without personal values go in; values read as encrypted."""
    EventStore(database).append_batch("shop", [lead()])
    monkeypatch.delenv("PIPELINES_MASTER_KEY")
    bare = EventStore(database)
    with pytest.raises(PipelinesError, match="no master key is configured") as caught:
        bare.append_batch("shop", [lead(2)])
    assert readable(str(caught.value)) == []
    with pytest.raises(PipelinesError, match="no master key is configured"):
        bare.append("shop", "lead-2", [lead(2)])
    with pytest.raises(PipelinesError, match="no master key is configured"):
        bare.append_batch("shop", [Malformed(b"x", "no event", "f:1")])
    assert bare.append_batch("shop", [lead(3, name=None, email=None, email_domain="x.example")]).accepted == 1
    first, second = bare.read()
    assert isinstance(first.data["name"], Encrypted)
    assert second.data["name"] is None


def test_a_wrong_master_key_is_one_clear_error(store: EventStore, database: ConnectionPool) -> None:
    """It neither reads nor writes, not even for new subjects, and the line says what to do."""
    store.append_batch("shop", [lead()])
    wrong = EventStore(database, vault=Vault(MasterKeys({1: os.urandom(32)})))
    with pytest.raises(PipelinesError, match="is not the one this database's keys are wrapped by"):
        list(wrong.read())
    with pytest.raises(PipelinesError, match="is not the one this database's keys are wrapped by"):
        wrong.append_batch("shop", [lead(2)])
    assert len(list(store.read())) == 1


def test_rotation_keeps_everything_readable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it the newest master key alone opens every key, refused events included; the file keeps the older one."""
    monkeypatch.delenv("PIPELINES_MASTER_KEY")
    settings = settings.model_copy(update={"master_key": None})
    settings.master_keys_path.write_text(new_master_key(1))
    with connections.open_pool(settings) as pool:
        EventStore(pool).append_batch("shop", [*(lead(number) for number in range(5)), Malformed(b"x", "no", "f:1")])
        result = CliRunner().invoke(pipelines, ["keys", "rotate", "--json"])
        assert (result.exit_code, json.loads(result.output)) == (0, {"version": 2, "rewrapped": 6})
        assert settings.master_keys_path.stat().st_mode & 0o777 == 0o600
        assert load_master_keys(settings) is not None
        newest = settings.master_keys_path.read_text().splitlines()[1]
        assert newest.startswith("2:")
        vault = Vault(MasterKeys({2: base64.b64decode(newest[2:])}))
        assert len({event.data["name"] for event in EventStore(pool, vault=vault).read()}) == 5
        assert EventStore(pool, vault=vault).append_batch("shop", [lead(2)]).duplicates == 1
        with pool.connection() as connection:
            row = connection.execute("select bytes from event_log.quarantine").fetchone()
            assert row is not None
            assert vault.unlock_refused(connection, "shop", [row[0]]) == [b"x"]


def test_the_profile_holds_the_newest_values_for_those_who_may_see_people(
    store: EventStore, database: ConnectionPool, settings: Settings
) -> None:
    """One row per subject with its newest values, in any order of arrival; only pii_reader may select it."""
    newer = NewEvent("test", "new", "lead-1", "lead_created", NOON.replace(hour=13), {**lead().data, "name": "Ann New"})  # pyright: ignore[reportGeneralTypeIssues]
    store.append_batch("shop", [newer, lead(2)])
    for events in ([], [lead()]):
        store.append_batch("shop", events)
        with database.connection() as connection:
            assert refresh_profiles(database, connection, store.settled_position()) == {"shop": 2}
    query = "select subject, profile ->> 'name', profile ->> 'email' from vault.subject_profile order by subject"
    with psycopg.connect(connections.admin_url(settings)) as admin:
        admin.execute("set role pii_reader")
        assert admin.execute(query).fetchall() == [("lead-1", "Ann New", EMAIL), ("lead-2", f"{NAME} 2", EMAIL)]
        for role, table in (("bi_reader", "subject_profile"), ("pipelines_runtime", "profile_values")):
            admin.execute(f"reset role; set role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege), admin.transaction():
                admin.execute(f"select from vault.{table}")
        admin.execute("reset role; set role pipelines_runtime")
        with pytest.raises(psycopg.errors.InsufficientPrivilege), admin.transaction():
            admin.execute(query)


def test_runtime_sessions_cannot_touch_keys(store: EventStore, database: ConnectionPool) -> None:
    """Keys are made, rewrapped and destroyed, by functions of the vault alone; certificates stay as they are."""
    store.append_batch("shop", [lead()])
    for statement in (
        "delete from vault.subject_keys",
        "update vault.subject_keys set erased_at = null",
        "truncate vault.subject_keys",
        "update vault.erasures set certificate = '{}'",
        "update event_log.quarantine set bytes = ''",
        "select vault.erase_subject('shop', 'quarantine')",
    ):
        with database.connection() as connection, pytest.raises(psycopg.Error):
            connection.execute(statement)


def erase(subject: str = "lead-1") -> dict[str, Any]:
    """Erase by the command line and return the certificate."""
    result = CliRunner().invoke(pipelines, ["erase", "--tenant", "shop", "--subject", subject, "--json"])
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.output)


def test_after_an_erasure_the_person_is_found_nowhere(
    store: EventStore, database: ConnectionPool, settings: Settings
) -> None:
    """No table, no landed file and no later event holds a readable value; others keep theirs; a certificate tells."""
    line = json.dumps({"subject": "lead-1", "data": {"lead_id": "1", "name": NAME}}).encode()
    done = settings.landing / "shop" / "done"
    done.mkdir(parents=True)
    (done / "leads.jsonl").write_bytes(line)
    other = lead(2, name="Bob Else", email="bob@x.example")
    wrong = [
        lead(1, "wrong", company_size=0),
        Malformed(line, "a reason", "f:1"),
        Malformed(b'{"lead_id": "2"}', "r", "f:2"),
    ]
    nothing_personal = lead(1, "without", email_domain="x.example")
    for name in ("name", "email"):
        cast("dict[str, Any]", nothing_personal.data).pop(name)
    assert store.append_batch("shop", [lead(), other, lead(1, "again"), nothing_personal, *wrong]).quarantined == 3
    with database.connection() as connection:
        refresh_profiles(database, connection, store.settled_position())

    certificate = erase()
    assert {name: certificate[name] for name in ("subject", "events", "key_destroyed", "profile_deleted")} == {
        "subject": "lead-1", "events": {"lead_created": 2}, "key_destroyed": True, "profile_deleted": True,
    }  # fmt: skip
    assert certificate["quarantine_scrubbed"] == 2
    assert certificate["files"]["deleted"] == [str(done / "leads.jsonl")]

    later = store.append_batch("shop", [lead(1, "later"), lead(1), lead(1, "worse", company_size=0), other])
    assert (later.accepted, later.duplicates, later.quarantined) == (0, 1, 3)
    with pytest.raises(InvalidEventError, match="lead-1 was erased"):
        store.append("shop", "lead-1", [lead(1, "single")])

    by_id = {event.event_id: event for event in store.read(event_types=["lead_created"])}
    assert isinstance(by_id["lead-1"].data["name"], Erased)
    assert isinstance(by_id["again"].data["email"], Erased)
    assert by_id["lead-2"].data["name"] == "Bob Else"
    (told,) = store.read(event_types=["subject_erased"])
    assert (told.data["subject"], told.occurred_at) == ("lead-1", NOON)

    with database.connection() as connection:
        refresh_profiles(database, connection, store.settled_position())
        rows = connection.execute("select kind, bytes = '' from event_log.quarantine order by quarantine_id").fetchall()
    assert rows == [
        ("invalid", True), ("malformed", True), ("malformed", False),
        ("erased", True), ("erased", True), ("erased", True),
    ]  # fmt: skip
    everything = dump(settings) + "".join(
        path.read_text("utf-8", "replace") for path in settings.home.rglob("*") if path.is_file()
    )
    assert readable(everything) == []
    assert "Bob Else" in everything  # in the profile: the search has teeth


def test_an_erasure_is_repeated_after_a_restore(
    store: EventStore, database: ConnectionPool, settings: Settings
) -> None:
    """A key that a restored backup brings back is destroyed again, once, from a record outside the database."""
    store.append_batch("shop", [lead()])
    with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
        kept = admin.execute("select wrapped_key, key_version from vault.subject_keys").fetchone()
        assert kept is not None
        erase()
        admin.execute("update vault.subject_keys set wrapped_key = %s, key_version = %s, erased_at = null", kept)
        assert next(iter(store.read())).data["email"] == EMAIL
        assert erasures.record_file(settings.home).stat().st_mode & 0o777 == 0o600
        for expected in (1, 0):
            result = CliRunner().invoke(pipelines, ["erase", "--repeat", "--json"])
            assert result.exit_code == 0, (result.output, result.exception)
            assert len(json.loads(result.output)) == expected
        assert isinstance(next(iter(store.read())).data["email"], Erased)
        # A database of before it all: the person is refused there, too, before any event came.
        admin.execute("delete from vault.subject_keys where subject = 'lead-1'; delete from vault.erasures")
        assert len(erasures.repeat(database, settings)) == 1
    assert store.append_batch("shop", [lead(1, "later")]).quarantined == 1


def test_it_must_be_clear_who_is_erased(store: EventStore, settings: Settings) -> None:
    """A bare identifier is enough where it names one person; two persons, or none, are told and nothing is erased."""
    customer = NewEvent("test", "c", "customer-7", "customer_registered", NOON, {"customer_id": "7", "name": "Cid"})
    store.append_batch("shop", [lead(7), customer, lead(8)])
    run = ["erase", "--tenant", "shop", "--subject"]
    for subject, message in (("7", "may be customer-7 or lead-7"), ("9", "nobody of shop")):
        failed = CliRunner().invoke(pipelines, [*run, subject])
        assert isinstance(failed.exception, PipelinesError)
        assert message in str(failed.exception)
    assert not erasures.record_file(settings.home).exists()
    assert erase("8")["subject"] == "lead-8"
    assert erase("lead-7")["subject"] == "lead-7"
    assert [event.data.get("name") for event in store.read(event_types=["customer_registered"])] == ["Cid"]
    assert erase("lead-99")["key_destroyed"] is False
    assert CliRunner().invoke(pipelines, ["erase", "--tenant", "shop"]).exit_code == 2


def test_a_landed_file_of_an_erased_person_is_not_kept(
    store: EventStore, database: ConnectionPool, settings: Settings
) -> None:
    """A file that names an erased person brings the events of the others, and no copy stays, however often it comes."""
    store.append("shop", "lead-1", [lead()])
    erasures.erase(database, settings, "shop", "lead-1")
    folder = settings.landing / "shop"
    folder.mkdir(parents=True)
    lines = [
        {
            "specversion": "1.0", "id": f"late-{number}", "source": "crm", "type": "lead_created",
            "subject": f"lead-{number}", "time": "2017-06-02T00:00:00Z",
            "data": {name: value for name, value in dict(lead(number).data).items() if name != "score"},
        }
        for number in (1, 2)
    ]  # fmt: skip

    def land(name: str, *sent: dict[str, Any]) -> tuple[int, int, int]:
        path = folder / name
        path.write_text("".join(json.dumps(line) + "\n" for line in sent), encoding="utf-8")
        os.utime(path, (1, 1))
        result = landing.ingest_waiting(database, settings.landing).events["shop"]
        return result.accepted, result.duplicates, result.quarantined

    assert land("late.jsonl", *lines) == (1, 0, 1)
    assert land("copy.jsonl", *lines) == (0, 1, 1)
    assert land("another.jsonl", lines[0]) == (0, 0, 1)
    assert [found for found in folder.rglob("*") if found.is_file()] == []
    assert land("of others.jsonl", lines[1]) == (0, 1, 0)
    assert [found.name for found in folder.rglob("*") if found.is_file()] == ["of others.jsonl"]
    erasures.erase(database, settings, "shop", "lead-2")
    assert land("known before.jsonl", lines[1]) == (0, 0, 1)
    assert [found for found in folder.rglob("*") if found.is_file()] == []


def member(number: int, event_id: str, **data: Any) -> NewEvent:
    """An event of a user's own type: a member of a club, who is named by a field of that user's choice."""
    fields: dict[str, Any] = {"club-member_id": str(number), "mail": EMAIL, **data}
    return NewEvent("club", event_id, f"seat-{number}", "club_joined", NOON, fields)


@pytest.fixture
def own_types(settings: Settings) -> Settings:
    """A state folder with the schema of an own event type that tells of a person."""
    settings.schemas.mkdir(parents=True)
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["club-member_id"],
        "x-subject-field": "club-member_id",
        "properties": {"club-member_id": {"type": "string"}, "mail": {"type": "string", "x-personal": True}},
    }
    (settings.schemas / "club_joined.v1.json").write_text(json.dumps(schema), encoding="utf-8")
    return settings


def test_people_of_own_event_types_are_known_and_erased(
    own_types: Settings, store: EventStore, database: ConnectionPool
) -> None:
    """Who is known only by a user's own type has a profile, is found by a bare identifier, and can be erased."""
    done = own_types.landing / "shop" / "done"
    done.mkdir(parents=True)
    for number in (5, 6):
        line = {"specversion": "1.0", "data": {"club-member_id": str(number), "mail": EMAIL}}
        (done / f"{number}.jsonl").write_text(json.dumps(line), encoding="utf-8")
    assert (
        store.append_batch("shop", [member(5, "a"), member(5, "b"), member(6, "c", mail="b@x.example")]).accepted == 3
    )
    with database.connection() as connection:
        assert refresh_profiles(database, connection, store.settled_position()) == {"shop": 2}

    certificate = erase("5")
    assert certificate["subject"] == "club-member-5"
    assert certificate["events"] == {"club_joined": 2}
    assert (certificate["key_destroyed"], certificate["profile_deleted"]) == (True, True)
    assert [path.name for path in done.iterdir()] == ["6.jsonl"]
    assert store.append_batch("shop", [member(5, "later")]).quarantined == 1


def test_a_redrive_keeps_nothing_of_who_was_erased_meanwhile(
    store: EventStore, database: ConnectionPool, settings: Settings
) -> None:
    """An event that waited under a name that no erasure could see ends as one refused directly: not a byte is kept."""
    waiting = NewEvent("club", "a", "seat-5", "club_joined", NOON, {"member_id": "5", "mail": EMAIL})
    assert store.append_batch("shop", [waiting]).quarantined == 1
    settings.schemas.mkdir(parents=True)
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["member_id"],
        "x-subject-field": "member_id",
        "properties": {"member_id": {"type": "string"}, "mail": {"type": "string", "x-personal": True}},
    }
    (settings.schemas / "club_joined.v1.json").write_text(json.dumps(schema), encoding="utf-8")
    with database.connection() as connection:  # the erasure of another process, between its look and the redrive
        connection.execute("select vault.erase_subject('shop', 'member-5')")
        before = connection.execute("select digest from event_log.quarantine").fetchone()
    assert quarantine.redrive(database).quarantined == 1
    with database.connection() as connection:
        rows = connection.execute("select kind, reason, bytes, is_sealed, digest from event_log.quarantine").fetchall()
    assert [row[:4] for row in rows] == [("erased", "member-5 was erased; nothing of it is taken any more", b"", False)]
    assert before is not None
    assert rows[0][4] != before[0]  # by which a guess of the whole event could be tried


def test_a_master_key_that_was_rolled_back_is_looked_up_again(database: ConnectionPool) -> None:
    """A vault trusts no version that it wrote itself and that was never committed: another key may be it by then."""
    first, second = (Vault(MasterKeys({1: os.urandom(32)})) for _ in range(2))
    ours = EventStore(database, vault=first)
    with database.connection() as connection:
        connection.execute("select 'a transaction begins'")
        for number in (1, 2):
            ours.append("shop", f"lead-{number}", [lead(number)], connection=connection)
        connection.rollback()
    assert EventStore(database, vault=second).append_batch("shop", [lead(3)]).accepted == 1
    with pytest.raises(PipelinesError, match="is not the one this database's keys are wrapped by"):
        ours.append("shop", "lead-4", [lead(4)])


def test_a_build_repeats_erasures_that_a_restore_undid(
    store: EventStore, database: ConnectionPool, settings: Settings, instance: DagsterInstance
) -> None:
    """Nobody has to remember: verify names who can be read again, and the next build of the log erases them."""
    store.append_batch("shop", [lead()])
    with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
        kept = admin.execute("select wrapped_key, key_version from vault.subject_keys").fetchone()
        assert kept is not None
        erasure_id = erase()["erasure_id"]
        assert found(database, settings) == (True, "1 erasures are in force")
        admin.execute("update vault.subject_keys set wrapped_key = %s, key_version = %s, erased_at = null", kept)
    passed, detail = found(database, settings)
    assert not passed
    assert erasure_id in detail
    assert "pipelines erase --repeat" in detail
    resources = {"platform": Platform()}
    assert materialize(after([]), instance=instance, resources=resources, selection=["event_log/events"]).success
    assert found(database, settings) == (True, "1 erasures are in force")
    assert isinstance(next(iter(store.read())).data["email"], Erased)


def found(pool: ConnectionPool, settings: Settings) -> tuple[bool, str]:
    """What `pipelines verify` says of erasures."""
    findings = {one.check: one for one in audit.verify(pool, settings.home, settings.home / "archive")}
    return findings["erasures"].passed, findings["erasures"].detail
