"""Enrolment: a request in the log becomes a saga, once.

Defines `enrol()`. The checkpoint and the new rows commit together, so that no kill loses a request; the saga's id is
made of the request's identity, so that none becomes two sagas, however many enrol at once. Running is `runner.py`.
"""

from __future__ import annotations

import json
import uuid
from itertools import islice
from typing import TYPE_CHECKING

from analytics_pipelines import progress
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.event_log.validation import json_text

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import Event
    from analytics_pipelines.sagas.saga import Saga

CHUNK_REQUESTS = 5_000
NAMESPACE = uuid.UUID("6f1c4a1e-0d0e-5b52-9b8f-3f4f7f0f5a11")
"""The namespace of saga ids; never to be changed."""

_ENROL = """
    insert into sagas.executions (
        tenant_id, saga_id, saga, request_event_id, request_position, correlation_id, context, next_sequence,
        requested_at
    ) values (%s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)
    on conflict (tenant_id, saga_id) do nothing
"""


def saga_id(saga: Saga, tenant_id: str, source: str, event_id: str) -> str:
    """Return the id of the saga that answers a request."""
    return str(uuid.uuid5(NAMESPACE, json.dumps([saga.name, tenant_id, source, event_id])))


def enrol(pool: ConnectionPool, saga: Saga) -> int:
    """Write down a pending saga for each request that has settled since the last enrolment, and return how many."""
    enrolled = 0
    while (step := _enrol_chunk(pool, saga)) is not None:
        enrolled += step
    return enrolled


def _enrol_chunk(pool: ConnectionPool, saga: Saga) -> int | None:
    """Enrol the next requests and return how many; None when the checkpoint has come to the settled position."""
    store = EventStore(pool)
    reader = f"sagas/{saga.name}"
    up_to = store.settled_position()
    with pool.connection() as connection:
        after = progress.read_checkpoint(connection, reader)
    if after >= up_to:
        return None
    # Read before the writing transaction: a pool may have one connection only.
    requests = list(islice(store.read(after=after, up_to=up_to, event_types=[saga.request_event]), CHUNK_REQUESTS))
    with pool.connection() as connection:
        with connection.cursor() as cursor:
            cursor.executemany(_ENROL, [_row(saga, event) for event in requests])
            enrolled = cursor.rowcount if requests else 0
        is_last = len(requests) < CHUNK_REQUESTS
        progress.write_checkpoint(connection, reader, up_to if is_last else requests[-1].position)
    return enrolled


def _row(saga: Saga, request: Event) -> list[object]:
    identity = saga_id(saga, request.tenant_id, request.source, request.event_id)
    return [
        request.tenant_id,
        identity,
        saga.name,
        request.event_id,
        request.position,
        request.correlation_id or identity,
        json_text(request.data),
        request.sequence + 1,
        request.occurred_at,
    ]
