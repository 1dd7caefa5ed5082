"""A branch is what the read models would be if the log had another history."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.event_log.catalog import BUILT_IN
from analytics_pipelines.event_log.validation import json_text
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import branches, projector
from analytics_pipelines.read_models.branch_commands import branch as branch_command
from analytics_pipelines.read_models.columns import count
from analytics_pipelines.read_models.edits import read_edits
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

EVENTS = 1_500
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def advance(pool: ConnectionPool) -> int:
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), up_to)
    return up_to


def create(pool: ConnectionPool, name: str, *edits: dict[str, Any], tenant: str = "shop") -> branches.Branch:
    lines = [json_text(edit).encode() for edit in edits]
    with pool.connection() as connection:
        found = read_edits(lines, "edits.jsonl", tenant)
        return branches.create(connection, name, found, models=READ_MODELS, catalog=BUILT_IN, file="edits.jsonl")


def rows(connection: Connection, schema: str, model: str, tenant: str) -> set[str]:
    found = connection.execute(
        f"select (to_jsonb(found) - 'tenant_id')::text from {schema}.{model} as found where tenant_id = %s", [tenant]
    )
    return {row[0] for row in found.fetchall()}


def order_event(number: int, kind: str, minute: int, **data: object) -> NewEvent:
    moment = NOON + timedelta(minutes=minute)
    return NewEvent("test", f"{number}-{kind}", f"order-{number}", kind, moment, {"order_id": str(number), **data})


def placed(number: int, customer: str) -> NewEvent:
    lines = [{"product_id": "p", "quantity": 2, "revenue": Decimal("9.90")}]
    return order_event(number, "order_placed", 0, customer_id=customer, channel="online", currency="EUR", lines=lines)


@pytest.fixture
def shop(database: ConnectionPool) -> ConnectionPool:
    """A log of three orders: one paid, one cancelled, one only placed."""
    EventStore(database).append_batch("shop", [
        placed(1, "ada"), order_event(1, "order_paid", 5, amount=Decimal("9.90")),
        placed(2, "ada"), order_event(2, "order_cancelled", 7, reason="changed my mind"),
        placed(3, "bob"),
    ])  # fmt: skip
    advance(database)
    return database


def test_a_story_with_another_outcome(shop: ConnectionPool) -> None:
    """Worked out by hand: the rows, the totals, and which edit caused what; the live models and the log stay."""
    positions = {event.event_id: event.position for event in EventStore(shop).read()}
    with shop.connection() as connection:
        live = {name: rows(connection, "read_models", name, "shop") for name in READ_MODELS}
    made = create(
        shop, "what_if",
        {"drop": positions["1-order_paid"]},
        {"change": {"source": "test", "id": "3-order_placed"}, "data": {"customer_id": "ada"},
         "time": "2017-06-01T14:00:00+02:00"},
        {"insert": {"source": "what-if", "id": "1", "type": "order_paid", "subject": "order-2",
                    "time": "2017-06-01T12:06:00Z", "data": {"order_id": "2", "amount": 4.5}}},
        {"insert": {"source": "what-if", "id": "2", "type": "order_paid", "subject": "order-4",
                    "time": "2017-06-01T12:00:00Z", "data": {"order_id": "4", "amount": 1}}},
        {"change": positions["1-order_placed"], "data": {"currency": "EUR"}},
    )  # fmt: skip
    assert made.edits == 5
    with shop.connection() as connection:
        found = branches.diff(connection, "what_if")
        assert {name: rows(connection, "read_models", name, "shop") for name in READ_MODELS} == live
    orders = found.models["order_state"]
    assert [(row.key, row.lines) for row in orders.rows] == [(["1"], [1, 5]), (["2"], [3]), (["3"], [2]), (["4"], [4])]
    first, second, third, fourth = orders.rows
    assert first.before is not None
    assert second.before is not None
    assert third.before is not None
    assert [(row.after or {})["status"] for row in orders.rows] == ["pending", "cancelled", "pending", None]
    assert first.before["status"] == "processing"
    assert second.before["seconds_in_pending"] == 420
    assert second.after is not None
    assert (second.after["seconds_in_pending"], second.after["seconds_in_processing"]) == (360, 60)
    assert third.after == third.before | {"customer_id": "ada"}
    assert fourth.before is None
    # 9.90 received; without it, and with 4.50 and 1: 5.50.
    assert orders.totals["paid_amount"] == (Decimal("9.90"), Decimal("5.5"))
    assert orders.totals["invalid_transitions"] == (0, 1)
    assert "revenue" not in orders.totals
    customers = found.models["customer_profile"]
    told = {row.key[0]: row for row in customers.rows}
    assert told.keys() == {"ada", "bob"}
    assert told["bob"].after is None
    ada = told["ada"]
    assert ada.before is not None
    assert ada.after is not None
    assert (ada.before["orders"], ada.after["orders"], ada.after["revenue"]) == (2, 3, Decimal("29.7"))
    assert customers.totals == {}
    assert made.differing == sum(model.differing for model in found.models.values())
    assert found.without_effect == []
    assert len(list(EventStore(shop).read())) == 5


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_branch_equals_a_log_that_has_the_edited_history(database: ConnectionPool, seed: int) -> None:
    """For random edits, every model's table equals the model over events that really were so; others' rows are live."""
    store, chance = EventStore(database), random.Random(seed)
    for tenant in ("saas", "other"):
        store.append_batch(tenant, simulate(EVENTS, seed))
    up_to = advance(database)
    events = list(store.read(tenant_id="saas"))
    history: dict[int, NewEvent] = {event.position: _sent(event) for event in events}
    edits: list[dict[str, Any]] = []
    for number, event in enumerate(chance.sample(events, 60)):
        reference = event.position if number % 2 else {"source": event.source, "id": event.event_id}
        moved = event.occurred_at + timedelta(hours=chance.randint(-48, 48))
        kind = chance.choice(["drop", "change", "insert"])
        if kind == "drop":
            edits.append({"drop": reference})
            del history[event.position]
        elif kind == "change":
            # Another event's payload of the same type: often of other keys.
            other = chance.choice([one for one in events if one.event_type == event.event_type])
            edits.append({"change": reference, "data": _impersonal(other), "time": moved.isoformat()})
            data = json_text({**event.data, **_impersonal(other)})
            history[event.position] = replace(history[event.position], occurred_at=moved, data=data)
        else:
            inserted = NewEvent(
                "what-if", str(number), chance.choice([event.stream_id, "new-stream"]), event.event_type, moved,
                _whole(event), event.schema_version,
            )  # fmt: skip
            edits.append({"insert": {
                "source": inserted.source, "id": inserted.event_id, "type": inserted.event_type, "subject":
                inserted.stream_id, "time": moved.isoformat(), "data": _impersonal(event),
                "dataschemaversion": event.schema_version,
            }})  # fmt: skip
            history[-number] = inserted
    made = create(database, "random", *edits, tenant="saas")
    assert set(made.positions.values()) == {up_to}
    assert store.append_batch("edited", history.values()).accepted == len(history)
    advance(database)  # the branch stays where it is
    differing = 0
    with database.connection() as connection:
        found = branches.diff(connection, "random", limit=10_000)
        for name in READ_MODELS:
            branched = rows(connection, "branch_random", name, "saas")
            assert branched == rows(connection, "read_models", name, "edited"), name
            live = rows(connection, "read_models", name, "saas")
            assert rows(connection, "branch_random", name, "other") == rows(connection, "read_models", name, "other")
            told = found.models[name].rows if name in found.models else []
            assert sum(row.after is not None for row in told) == len(branched - live)
            assert sum(row.before is not None for row in told) == len(live - branched)
            assert all(row.lines for row in told)
            differing += len(told)
            for column, (before, after) in (found.models[name].totals if told else {}).items():
                sums = connection.execute(
                    f"select sum({column}) filter (where tenant_id <> 'edited'),"
                    f" sum({column}) filter (where tenant_id <> 'saas') from read_models.{name}"
                ).fetchone()
                assert (before, after) == sums
    assert differing == made.differing > 20


def _sent(event: Any) -> NewEvent:
    return NewEvent(
        event.source, event.event_id, event.stream_id, event.event_type, event.occurred_at, _whole(event),
        event.schema_version, event.sequence,
    )  # fmt: skip


def _whole(event: Any) -> str:
    return json_text(event.data)


def _impersonal(event: Any) -> dict[str, Any]:
    personal = BUILT_IN.personal.get((event.event_type, event.schema_version))
    return {name: value for name, value in event.data.items() if not personal or name not in personal.fields}


def test_a_wrong_edit_is_named_by_its_line(shop: ConnectionPool) -> None:
    """Whatever is wrong with an edit is one line that names the file, the line and the field; nothing is made."""
    cloud_event = {"source": "s", "id": "1", "type": "order_paid", "subject": "order-1", "time": "2017-06-01T00:00:00Z",
                   "data": {"order_id": "1", "amount": 1}}  # fmt: skip
    lead = {**cloud_event, "type": "lead_created", "subject": "lead-1"}
    wrong: list[tuple[Any, str]] = [
        ({"forget": 1}, 'write one of {"drop": ...}'),
        ({"drop": 1, "insert": cloud_event}, 'write one of {"drop": ...}'),
        ({"drop": 1, "data": {}}, "data: not known in a drop"),
        ({"drop": 1_000_000}, "drop: the log has no such event"),
        ({"drop": 1.5}, "drop: a position, or source and id, are needed"),
        ({"drop": {"source": "test", "id": "9"}}, "drop: the log has no such event"),
        ({"change": 1}, "data or time: one is needed"),
        ({"change": 1, "time": "noon"}, "time: an RFC 3339 time such as"),
        ({"change": 1, "time": "2999-01-01T00:00:00Z"}, "time: lies in the future"),
        ({"change": 2, "data": {"amount": "ten"}}, "data.amount: Input should be a valid number"),
        ({"insert": {**cloud_event, "type": "order_lost"}}, "type: order_lost version 1 is not in the catalog"),
        ({"insert": {**cloud_event, "data": {"amount": 1}}}, "data.order_id: Field required"),
        ({"insert": {**cloud_event, "subject": ""}}, "stream_id: 1 to 200 characters"),
        ({"insert": {**cloud_event, "time": 5}}, "insert.time: a text is needed"),
        ({"insert": {**cloud_event, "source": "test", "id": "1-order_paid"}}, "the log has this source and id at"),
        ({"insert": {**lead, "data": {"lead_id": "1", "email": "ada@example.org"}}}, "data.email: it is personal"),
    ]
    for edit, reason in wrong:
        with pytest.raises(PipelinesError) as raised:
            create(shop, "wrong", {"drop": 3}, edit)
        assert str(raised.value).startswith("edits.jsonl, line 2: "), edit
        assert reason in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(PipelinesError, match="line 2: line 1 edits the same event; put both into one edit"):
        create(shop, "wrong", {"drop": 3}, {"change": 3, "time": "2017-06-01T00:00:00Z"})
    with pytest.raises(PipelinesError, match=r"line 1: drop\.tenantid: a tenant is needed, here or by --tenant"):
        read_edits([b'{"drop": {"source": "a", "id": "b"}}'], "edits.jsonl")
    with pytest.raises(PipelinesError, match=r"edits\.jsonl: there is no edit in it"):
        read_edits([b"\n"], "edits.jsonl")
    with shop.connection() as connection:
        assert branches.listing(connection) == []
    EventStore(shop).append_batch("shop", [placed(9, "eve")])
    newest = [event.position for event in EventStore(shop).read()][-1]
    with pytest.raises(PipelinesError, match="a model stands at position"):
        create(shop, "wrong", {"drop": newest})


def test_personal_values_stay_out_of_a_branch(database: ConnectionPool) -> None:
    """An event of a person can be changed or inserted but for its personal fields, which the branch does not hold."""
    store = EventStore(database)
    data = {"lead_id": "1", "email": "ada@example.org", "name": "Ada", "company_id": "c", "company": "C",
            "industry": "tools", "company_size": 5, "lead_source": "web"}  # fmt: skip
    store.append_batch("saas", [NewEvent("test", "1", "lead-1", "lead_created", NOON, data)])
    (event,) = store.read()
    advance(database)
    create(database, "moved", {"change": event.position, "data": {"industry": "toys"}}, tenant="saas")
    with database.connection() as connection:
        edited = connection.execute("select data from branch_moved._edited").fetchone()
        found = branches.diff(connection, "moved").models["lead_analytics"].rows
    assert edited is not None
    assert not {"email", "name"} & edited[0].keys()
    (row,) = found
    assert row.before is not None
    assert row.after == row.before | {"industry": "toys"}
    assert row.after["email_domain"] == "example.org"


def test_a_model_that_is_not_built_is_left_out(
    shop: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One declaration that cannot be folded keeps nobody from asking of the others; one alone is refused."""
    from analytics_pipelines import settings
    from analytics_pipelines.read_models import models

    orders = READ_MODELS["order_state"]
    broken = replace(orders, columns=(*orders.columns, count("odd", "Odd", "order_paid", where="nosuch = 1")))
    monkeypatch.setattr(settings, "load_settings", lambda: database_settings)
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    monkeypatch.setattr(models, "READ_MODELS", {**READ_MODELS, "order_state": broken})
    file = tmp_path / "edits.jsonl"
    file.write_text('{"drop": {"source": "test", "id": "1-order_paid"}}\n', encoding="utf-8")
    made = CliRunner().invoke(branch_command, ["create", "others", "--edit", str(file), "--tenant", "shop"])
    assert made.exit_code == 0, made.exception
    assert made.stderr == "left out: order_state, not built yet as it is declared now; run `pipelines build`\n"
    with shop.connection() as connection:
        assert branches.diff(connection, "others").branch.positions.keys() == READ_MODELS.keys() - {"order_state"}
        connection.commit()
        with pytest.raises(PipelinesError, match="no read model was built yet"):
            branches.create(connection, "nothing", [], models={"order_state": broken}, catalog=BUILT_IN)


def test_the_commands_make_show_list_and_drop(
    shop: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A branch is made, shown, listed and dropped; a name that is taken, wrong or unknown is one clear line."""
    from analytics_pipelines import settings

    monkeypatch.setattr(settings, "load_settings", lambda: database_settings)
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(branch_command, [*arguments])

    file = tmp_path / "edits.jsonl"
    file.write_text('{"drop": {"source": "test", "id": "1-order_paid"}}\n\n', encoding="utf-8")
    assert run("list").stdout == "no branches\n"
    made = run("create", "unpaid", "--edit", str(file), "--tenant", "shop")
    assert made.exit_code == 0, made.exception
    assert "with edits: 1; rows that differ: 2; see `pipelines branch diff unpaid`" in made.stdout
    text = run("diff", "unpaid").stdout
    assert "shop/1 (edit 1) differs: status processing -> pending" in text
    assert "total paid_amount: 9.9 -> 0" in text
    shown = json.loads(run("diff", "unpaid", "--json").stdout)
    assert shown["models"]["order_state"]["rows"][0]["edits"] == [1]
    assert [one["branch"] for one in json.loads(run("list", "--json").stdout)] == ["unpaid"]
    taken = run("create", "unpaid", "--edit", str(file), "--tenant", "shop")
    assert "there is a branch unpaid already" in str(taken.exception)
    assert "small letters" in str(run("create", "Un-paid", "--edit", str(file), "--tenant", "shop").exception)
    assert run("drop", "unpaid").exit_code == 0
    assert "there is no branch 'unpaid'" in str(run("diff", "unpaid").exception)
    assert isinstance(run("drop", "unpaid").exception, PipelinesError)
    with shop.connection() as connection:
        assert connection.execute("select to_regnamespace('branch_unpaid')").fetchone() == (None,)
    assert run("create", "unpaid", "--edit", str(file), "--tenant", "shop").exit_code == 0


def test_a_position_of_another_tenant_is_refused(database: ConnectionPool) -> None:
    """Who names a tenant and a position of another one is told whose that is, and nothing is branched."""
    EventStore(database).append_batch("mine", [placed(1, "ada")])
    EventStore(database).append_batch("theirs", [placed(2, "bob")])
    advance(database)

    with pytest.raises(PipelinesError, match="position 2 is an event of theirs, not of mine"):
        create(database, "unpaid", {"drop": 2}, tenant="mine")
    assert create(database, "unpaid", {"drop": 2}, tenant="theirs").edits == 1


def test_the_edits_of_the_how_to_work(database: ConnectionPool) -> None:
    """The file of edits in docs/how-to/ask-about-the-past.md makes a branch of what the README's examples have sent."""
    page = (PROJECT_FOLDER / "docs" / "how-to" / "ask-about-the-past.md").read_text(encoding="utf-8")
    found = re.search(r"<!-- file edits.jsonl -->\n```json\n(.*?)```", page, re.DOTALL)
    assert found is not None
    first = replace(placed(1, "ada"), source="my-shop", event_id="1")
    payment = replace(order_event(1, "order_paid", 5, amount=10), source="my-shop", event_id="2")
    EventStore(database).append_batch("mine", [first, payment])
    advance(database)
    made = create(database, "unpaid", *map(json.loads, found[1].splitlines()), tenant="mine")
    assert made.edits == 3
    with database.connection() as connection:
        orders = branches.diff(connection, "unpaid").models["order_state"].rows
    assert [row.lines for row in orders] == [[1, 2, 3]]
