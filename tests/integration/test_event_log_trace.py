"""A request is followed to all that it caused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from click.testing import CliRunner

from analytics_pipelines.event_log import EventStore, NewEvent, audit_commands

if TYPE_CHECKING:
    import pytest
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def event(event_id: str, causation: str | None, correlation: str | None = "request-1") -> NewEvent:
    data = {"order_id": "1", "amount": 1}
    return NewEvent(
        "test", event_id, "order-1", "order_paid", NOON, data, correlation_id=correlation, causation_id=causation
    )


def test_causes_come_before_their_effects(
    store: EventStore, database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of arrival, each cause stands before its effects, saga steps too; circles end."""
    from analytics_pipelines import settings

    monkeypatch.setattr(settings, "load_settings", lambda: database_settings)
    chain = [event("c", "b"), event("b", "a"), event("d", "command-1"), event("x", "y"), event("y", "x")]
    store.append_batch("shop", [event("a", None, correlation=None), *chain, event("other", "b", "request-2")])
    store.append_batch("else", [event("a", None)])
    with database.connection() as connection:
        connection.execute(
            "insert into sagas.executions (tenant_id, saga_id, saga, request_event_id, request_position,"
            " correlation_id, context, next_sequence, requested_at)"
            " values ('shop', 's1', 'launch', 'a', 1, 'request-1', '{}', 1, now())"
        )
        connection.execute(
            "insert into sagas.steps (tenant_id, saga_id, step, kind, status, attempt, started_at)"
            " values ('shop', 's1', 'reserve', 'action', 'running', 1, now())"
        )
    result = CliRunner().invoke(audit_commands.TRACE, ["request-1", "--tenant", "shop", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    told = [(row["depth"], row.get("event_id") or row["step"]) for row in rows]
    assert told[:5] == [(0, "a"), (1, "b"), (2, "c"), (1, "reserve"), (0, "d")]
    assert sorted(name for _, name in told[5:]) == ["x", "y"]
    text = CliRunner().invoke(audit_commands.TRACE, ["request-1", "--tenant", "shop"]).stdout
    assert "  saga step launch.reserve (action, running)  s1" in text
