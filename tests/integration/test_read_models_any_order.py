"""Every read model gives the same rows however its events arrive, for whatever the catalog lets in.

The events are made from the catalog's own schemas, of every type, with few identifiers, so that keys collide, and with
the nastiest values that are valid. A new model, and a new event type, is tested here by itself.
"""

from __future__ import annotations

import os
import random
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.event_log.schemas.json_schema import json_schema
from analytics_pipelines.event_log.schemas.vocabulary import MEANINGS
from analytics_pipelines.read_models import comparison, projector, sql, versions
from analytics_pipelines.read_models.declaration import MOST_STREAMS
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

SEEDS, EVENTS = (range(20), 5_000) if "PROVE" in os.environ else (range(2), 700)
START = datetime(2017, 1, 1, tzinfo=UTC)
DAYS = 60
LATENESS = 90
TYPES = [key for key in SCHEMAS if key != ("subject_erased", 1)]  # which only an erasure appends
# Times and days are shown and read alike in every session, whatever it is set to.
SESSIONS = [("UTC", "ISO"), ("Asia/Kathmandu", "ISO, DMY"), ("America/St_Johns", "ISO, YMD")]
IDENTIFIERS = ["1", "1", "1", "2", "2", "3", "é'%s{}", '"\\']
# More than are kept by name, some of which an array or a format string might trip over.
STREAMS = [
    "elsewhere",
    "a'b",
    '"',
    "\\",
    "{",
    "}",
    "com,ma",
    "NULL",
    "null",
    " ",
    "%s",
    "{0}",
    "é",
    "e\u0301",
    "Z",
    "a",
]
STREAMS += [f"stream {number}" for number in range(MOST_STREAMS)]
TEXTS = ["", "a", "b", "B", "null", "%(up_to)s {0} '", "naïve \U0001f9ea", "compensate", "x" * 300]
NUMBERS = [
    Decimal(text) for text in ("0", "1", "1.0", "1.10", "1.100", "0.5", "0.50", "12345678901234567.89", "1e-4000")
]
LARGE = [Decimal("1e300"), Decimal("99999999999.99")]
JUNK: list[Any] = [None, "", "junk", True, -1, [], [1], {}, {"a": 1}]
PATTERNS = {
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$": ["0001-01-01", "2017-02-28", "9999-12-31"],
    r"^[A-Z]{3}$": ["USD", "EUR"],
    r"^[a-z][a-z_]{0,39}$": ["lead", "customer"],
}


def value_of(schema: dict[str, Any], root: dict[str, Any], chance: random.Random) -> object:  # noqa: PLR0911 - a line for each type of JSON
    """Make a value that a JSON Schema of the catalog allows."""
    if "$ref" in schema:
        return object_of(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, chance)
    if "anyOf" in schema:
        return value_of(chance.choice(schema["anyOf"]), root, chance)
    kind = schema["type"]
    if kind == "null":
        return None
    if kind == "boolean":
        return chance.random() < 0.5
    if kind == "integer":
        low, high = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
        return chance.choice([low, low + 1, low + chance.randint(0, 10_000_000), high])
    if kind == "number":
        numbers = [*NUMBERS, *LARGE, *(() if "minimum" in schema else (Decimal("-7.25"),))]
        low, high = schema.get("exclusiveMinimum", Decimal("-Infinity")), schema.get("maximum", Decimal("Infinity"))
        return chance.choice([number for number in numbers if low < number <= high and (low < 0 or float(number) > 0)])
    if kind == "array":
        items = [value_of(schema["items"], root, chance) for _ in range(chance.randint(schema.get("minItems", 0), 4))]
        return items + items[:1] if chance.random() < 0.3 else items
    if kind == "object":
        return {name: value_of(schema["additionalProperties"], root, chance) for name in ("f1", "auc")}
    pattern = schema.get("pattern")
    if pattern is None:
        return chance.choice(IDENTIFIERS if "minLength" in schema else TEXTS)
    return chance.choice(PATTERNS.get(pattern) or re.findall(r"\w+", pattern))


def object_of(schema: dict[str, Any], root: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Make an object: optional fields may be absent, and fields that the schema does not know hold anything."""
    required = set(schema.get("required", ()))
    known = {
        name: value_of(field, root, chance)
        for name, field in schema["properties"].items()
        if name in required or chance.random() < 0.7
    }
    unknown = {name: chance.choice(JUNK) for name in chance.sample(sorted(MEANINGS), 3)}
    return {name: value for name, value in unknown.items() if name not in schema["properties"]} | known


def valid_events(chance: random.Random, count: int) -> list[NewEvent]:
    """Make events of every type of the catalog; many occur at the very same moment."""
    events: list[NewEvent] = []
    for number in range(count):
        event_type, version = TYPES[number % len(TYPES)]
        schema = json_schema(event_type, version)
        data = object_of(schema, schema, chance)
        stream = re.sub(r"<(\w+)>", lambda named, data=data: data[named.group(1)], schema["x-stream"])
        moment = START + timedelta(days=chance.randint(0, DAYS), hours=chance.choice([0, 12, 23]))
        source = chance.choice(["crm", "shop"])
        events.append(
            NewEvent(
                source=source,
                event_id=f"{chance.choice('ABab')}{number}",
                stream_id=stream if chance.random() < 0.7 else chance.choice(STREAMS),
                event_type=event_type,
                occurred_at=moment + timedelta(microseconds=chance.choice([0, 0, 1])),
                data=data,
                schema_version=version,
                sequence=chance.choice([0, 0, 0, 1, -1]),
            )
        )
    return events


def arrivals(events: Sequence[NewEvent], chance: random.Random) -> list[NewEvent]:
    """Put events in an order of arrival: any at all, or each late by up to 90 days."""
    if chance.random() < 0.5:
        return chance.sample(events, len(events))
    return sorted(events, key=lambda event: event.occurred_at + timedelta(days=LATENESS * chance.random() ** 4))


def shown(pool: ConnectionPool, tenant: str) -> dict[str, list[tuple[str, ...]]]:
    """The rows of every model's public view, all columns as text."""
    found: dict[str, list[tuple[str, ...]]] = {}
    with pool.connection() as connection:
        for model in READ_MODELS.values():
            columns = ", ".join(f"{name}::text" for name in list(model.descriptions)[1:])
            rows = f"select {columns} from read_models.{model.name} where tenant_id = %s"
            found[model.name] = connection.execute(f"{rows} order by {', '.join(model.key)}", [tenant]).fetchall()
    return found


def advance(connection: Connection, chance: random.Random, up_to: int) -> None:
    """Bring some of the models up to the position, in a session of any settings."""
    zone, style = chance.choice(SESSIONS)
    connection.execute("select set_config('timezone', %s, true), set_config('datestyle', %s, true)", [zone, style])
    some = chance.sample(list(READ_MODELS.values()), chance.choice([1, len(READ_MODELS) // 2, len(READ_MODELS)]))
    projector.advance(connection, some, up_to)


@pytest.mark.prove
@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_and_any_cut_give_the_rows_of_a_sorted_replay(database: ConnectionPool, seed: int) -> None:
    """Shuffled, cut, crashed and resumed, the rows of every view equal those of the sorted log folded at once.

    Nor is any row found wrong on the way, among those that a part of the events touches.
    """
    chance = random.Random(seed)
    events = valid_events(chance, EVENTS)
    store = EventStore(database)
    waiting = arrivals(events, chance)
    ends = [0]
    while waiting:
        size = chance.randint(1, EVENTS // 3)
        sent, waiting = waiting[:size], waiting[size:]
        assert store.append_batch("any", [*sent, *sent[:10]]).quarantined == 0
        settled = store.settled_position()
        if chance.random() < 0.5:
            with database.connection() as connection:
                advance(connection, chance, settled)
                connection.rollback()  # as a crash before the commit leaves it
        with database.connection() as connection:
            advance(connection, chance, settled)
            for model in READ_MODELS.values():
                if versions.exists(connection, versions.declared(model)):
                    found = comparison.differences(connection, model, after=chance.choice(ends))
                    assert (model.name, found.differing) == (model.name, [])
        ends.append(settled)
    with database.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), store.settled_position())
        for model in READ_MODELS.values():
            assert (model.name, comparison.differences(connection, model).differing) == (model.name, [])
    live = shown(database, "any")
    assert [name for name, rows in live.items() if not rows] == []

    with database.connection() as connection:
        for model in READ_MODELS.values():
            connection.execute(f"drop table {sql.table(model)} cascade")
    in_order = sorted(events, key=lambda event: (event.occurred_at, event.sequence, event.event_id, event.source))
    assert store.append_batch("sorted", in_order).quarantined == 0
    with database.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), store.settled_position())
    for again in (shown(database, "sorted"), shown(database, "any")):
        assert {name: rows for name, rows in again.items() if rows != live[name]} == {}
