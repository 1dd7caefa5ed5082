"""What is written down about sagas: the rows of `sagas.executions` and `sagas.steps`, read.

Defines `Execution` and the questions that sensors, checks and operators ask. Only `enrolment.py` and `runner.py` write.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row, dict_row

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

    from analytics_pipelines.sagas.saga import Saga

_LAST_EVENT_DIFFERS = """
    select e.saga_id, e.status, last_event.event_type
    from sagas.executions as e
    left join lateral (
        select log.event_type
        from event_log.events as log
        where log.tenant_id = e.tenant_id and log.stream_id = 'saga-' || e.saga_id
        order by log.occurred_at desc, log.sequence desc, log.event_id desc
        limit 1
    ) as last_event on true
    where e.ended_at is not null and last_event.event_type is distinct from
        case e.status when 'inbox' then 'saga_suspended' else 'saga_' || e.status end
    order by e.saga_id
"""

# A saga that has gone on since the model was built is told by the next build.
_STATE_DIFFERS = """
    select e.saga_id, e.status, s.status
    from sagas.executions as e
    left join read_models.saga_state as s using (tenant_id, saga_id)
    where e.status <> 'pending' and s.status is distinct from e.status
        and not exists (
            select from event_log.events as log
            where log.tenant_id = e.tenant_id and log.stream_id = 'saga-' || e.saga_id
                and log.position > (
                    select b.position from progress.builds as b
                    where b.tenant_id = '*' and b.asset_key = 'read_models/saga_state'
                )
        )
    order by e.saga_id
"""


@dataclass(frozen=True, slots=True)
class Execution:
    """One saga and how far it has come.

    Attributes:
        request: the payload of the request; numbers with a fraction are `Decimal`.
        steps: the status of each step begun, by step and kind.
        results: the results of the completed actions, by step.
    """

    tenant_id: str
    saga_id: str
    saga: str
    status: str
    request_event_id: str
    correlation_id: str
    next_sequence: int
    requested_at: datetime
    request: Mapping[str, Any]
    steps: Mapping[tuple[str, str], str]
    results: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Due:
    """A saga that has not ended and may be taken up."""

    tenant_id: str
    saga_id: str
    correlation_id: str


def load(connection: Connection, tenant_id: str, saga_id: str) -> Execution:
    """Read how far a saga has come.

    Raises:
        PipelinesError: the tenant has no such saga.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            """
            select tenant_id, saga_id, saga, status, request_event_id, correlation_id, next_sequence, requested_at,
                context::text as request
            from sagas.executions where tenant_id = %s and saga_id = %s
            """,
            [tenant_id, saga_id],
        ).fetchone()
        steps = cursor.execute(
            "select step, kind, status, result from sagas.steps where tenant_id = %s and saga_id = %s",
            [tenant_id, saga_id],
        ).fetchall()
    if row is None:
        raise PipelinesError(f"tenant {tenant_id} has no saga {saga_id}; see `pipelines sagas list`")
    row["request"] = json.loads(row["request"], parse_float=Decimal)
    return Execution(
        **row,
        steps={(step["step"], step["kind"]): step["status"] for step in steps},
        results={
            step["step"]: step["result"] for step in steps if step["kind"] == "action" and step["status"] == "completed"
        },
    )


def due(connection: Connection, saga: Saga, limit: int | None = None) -> list[Due]:
    """Return sagas that have not ended, the oldest request first, whose steps can read what they need.

    A step that counted leads before the request's log position is built would decide on an older state, on a new
    platform even on none.
    """
    with connection.cursor(row_factory=class_row(Due)) as cursor:
        return cursor.execute(
            """
            select e.tenant_id, e.saga_id, e.correlation_id
            from sagas.executions as e
            where e.saga = %(saga)s and e.ended_at is null
                and not exists (
                    select from unnest(%(reads)s::text[]) as needed (asset_key)
                    where not exists (
                        select from progress.builds as b
                        where b.tenant_id = '*' and b.asset_key = needed.asset_key and b.position >= e.request_position
                    )
                )
            order by e.requested_at, e.saga_id
            limit %(limit)s
            """,
            {"saga": saga.name, "reads": list(saga.reads), "limit": limit},
        ).fetchall()


def listing(connection: Connection, tenant_id: str | None) -> list[dict[str, Any]]:
    """Return what an operator wants to see of each saga, the newest request first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            select
                saga_id, tenant_id, saga, status, attempts, reason, correlation_id, requested_at, started_at, ended_at
            from sagas.executions
            where %(tenant_id)s::text is null or tenant_id = %(tenant_id)s
            order by requested_at desc, saga_id
            """,
            {"tenant_id": tenant_id},
        ).fetchall()


def count_by_status(connection: Connection) -> dict[str, int]:
    """Return how many sagas there are of each status."""
    rows = connection.execute("select status, count(*) from sagas.executions group by status order by status")
    return dict(rows.fetchall())


def without_last_event(connection: Connection) -> list[tuple[str, str, str | None]]:
    """Return sagas whose stream does not end with the event of their end: saga_id, status, last event type."""
    return connection.execute(_LAST_EVENT_DIFFERS).fetchall()


def differing_from_the_read_model(connection: Connection) -> list[tuple[str, str, str | None]]:
    """Return sagas that the read model `saga_state` tells otherwise: saga_id, status, the model's status."""
    return connection.execute(_STATE_DIFFERS).fetchall()
