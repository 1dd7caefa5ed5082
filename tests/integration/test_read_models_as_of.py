"""A read model as of a moment is what its events up to that moment make of it."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql as pg

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import projector, sql
from analytics_pipelines.read_models.as_of import AXES, Axis, as_of, changes
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings

EVENTS = 2_000
KEYS = 25
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
MODELS = list(READ_MODELS.values())
LEAD_ANALYTICS = READ_MODELS["lead_analytics"]


def advance(pool: ConnectionPool) -> int:
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, MODELS, up_to)
    return up_to


def table(connection: Connection, model: ReadModel, tenant: str, of: str = "") -> dict[tuple[str, ...], str]:
    """The rows of a tenant, by key, as JSON without the tenant."""
    key = ", ".join(model.key)
    rows = connection.execute(
        f"select {key}, (to_jsonb(found) - 'tenant_id')::text from read_models.{model.name}{of} as found "
        "where tenant_id = %s",
        [tenant],
    ).fetchall()
    return {tuple(row[:-1]): row[-1] for row in rows}


def story(seed: int) -> list[list[NewEvent]]:
    """Batches as they arrive: out of order, some repeated, many of one moment."""
    events = [
        replace(event, occurred_at=event.occurred_at.replace(minute=0, second=0, microsecond=0))
        for event in simulate(EVENTS, seed)
    ]
    chance = random.Random(seed)
    shuffled = chance.sample(events, len(events))
    return [shuffled[:1_000], shuffled[1_000:1_500], shuffled[1_500:]]


def asked(connection: Connection, model: ReadModel, chance: random.Random) -> list[tuple[str, ...]]:
    """Some keys of every kind: of one stream and of many, with and without events by the moment."""
    key = ", ".join(model.key)
    rows = connection.execute(
        f"select {key}, _first_stream <> _last_stream from {sql.table(model)} where tenant_id = 'saas' order by {key}"
    ).fetchall()
    scattered = [row[:-1] for row in rows if row[-1]]
    together = [row[:-1] for row in rows if not row[-1]]
    return [key for kind in (scattered, together) for key in chance.sample(kind, min(KEYS, len(kind)))]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("by", AXES)
def test_an_answer_is_what_the_events_up_to_the_moment_make(database: ConnectionPool, by: Axis, seed: int) -> None:
    """For every model and both kinds of time, each row equals that of a log that ends at the moment, ties included."""
    store, chance = EventStore(database), random.Random(seed)
    for batch in story(seed):
        store.append_batch("saas", batch)
        advance(database)
    events = list(store.read(tenant_id="saas"))
    moments = sorted(getattr(event, AXES[by]) for event in chance.sample(events, 3))
    moments.append(moments[-1] + timedelta(minutes=1))
    for number, moment in enumerate(moments):
        known = [event for event in events if getattr(event, AXES[by]) <= moment]
        assert store.append_batch(f"cut-{number}", [_sent(event) for event in known]).accepted == len(known)
    advance(database)
    answered = 0
    with database.connection() as connection:
        for model in MODELS:
            keys = asked(connection, model, chance)
            assert keys
            for number, moment in enumerate(moments):
                expected = table(connection, model, f"cut-{number}")
                for key in keys:
                    row = as_of(connection, model, "saas", key, moment, by).row
                    assert _comparable(connection, row) == expected.get(key), (model.name, key, moment)
                    answered += row is not None
                if by == "event-time":
                    of = f"_as_of('{moment.isoformat()}')"
                    assert table(connection, model, "saas", of) == expected, (model.name, moment)
    assert answered > 100


def _sent(event: Any) -> NewEvent:
    return NewEvent(
        event.source, event.event_id, event.stream_id, event.event_type, event.occurred_at, event.data_json,
        event.schema_version, event.sequence,
    )  # fmt: skip


def _comparable(connection: Connection, row: dict[str, Any] | None) -> str | None:
    from analytics_pipelines.event_log.validation import json_text

    if row is None:
        return None
    found = connection.execute("select (%s::jsonb - 'tenant_id')::text", [json_text(row)]).fetchone()
    assert found is not None
    return found[0]
