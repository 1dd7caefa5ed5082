"""What one request caused: command, events, saga steps, in order of causation.

Defines `trace()`. The chain's last link, Dagster's runs, carry the correlation as the tag `RUN_TAG`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

RUN_TAG = "pipelines/correlation_id"

# The request that a saga answers may carry no correlation itself; the saga knows its position.
_EVENTS = """
    select position, event_id, event_type, stream_id, source, occurred_at, causation_id
    from event_log.events
    where tenant_id = %(tenant_id)s and correlation_id = %(correlation_id)s
    union
    select position, event_id, event_type, stream_id, source, occurred_at, causation_id
    from event_log.events
    where position = any (array(
        select request_position from sagas.executions
        where tenant_id = %(tenant_id)s and correlation_id = %(correlation_id)s))
    order by position
"""

_STEPS = """
    select e.request_event_id as causation_id, e.saga, s.saga_id, s.step, s.kind, s.status, s.attempt, s.started_at,
        s.ended_at
    from sagas.executions as e join sagas.steps as s using (tenant_id, saga_id)
    where e.tenant_id = %(tenant_id)s and e.correlation_id = %(correlation_id)s
    order by s.started_at, s.saga_id, s.step, s.kind
"""


def trace(connection: Connection, tenant_id: str, correlation_id: str) -> list[dict[str, Any]]:
    """Return what a correlation ties together, each cause before its effects.

    Every entry has `depth` (how many causes stand before it) and `what`: "event" or "saga step".
    """
    arguments = {"tenant_id": tenant_id, "correlation_id": correlation_id}
    with connection.cursor(row_factory=dict_row) as cursor:
        entries = [{"what": "event", **row} for row in cursor.execute(_EVENTS, arguments).fetchall()]
        entries += [{"what": "saga step", **row} for row in cursor.execute(_STEPS, arguments).fetchall()]
    return list(_in_order(entries))


def _in_order(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each entry after its cause. What stands in a circle, by a producer's mistake, comes after the rest."""
    known = {entry["event_id"] for entry in entries if entry["what"] == "event"}
    effects: dict[str | None, list[dict[str, Any]]] = {}
    for entry in entries:
        cause = entry["causation_id"]
        effects.setdefault(cause if cause in known else None, []).append(entry)
    waiting = [(0, entry) for entry in reversed(effects.pop(None, []))]
    while waiting or effects:
        if not waiting:
            waiting = [(0, entry) for entry in reversed(effects.pop(next(iter(effects))))]
        depth, entry = waiting.pop()
        yield {"depth": depth, **entry}
        waiting += [(depth + 1, effect) for effect in reversed(effects.pop(entry.get("event_id"), []))]
