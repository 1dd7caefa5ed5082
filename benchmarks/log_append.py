"""Appending one event against a bare INSERT, and in bulk against a raw COPY of the same rows into the same table."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from analytics_pipelines.event_log import EventStore, NewEvent
from benchmarks.measure import Figure, at_least, in_turns, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

SINGLE_APPENDS = 1_000
PERSONAL_EVENTS = 50_000
COLUMNS = (
    "source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at, correlation_id, "
    "causation_id, data"
)
INSERT = """
    insert into plain.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version,
        sequence, occurred_at, data)
    values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def figures(pool: ConnectionPool, _settings: Settings, events: Sequence[NewEvent]) -> Iterator[Figure]:
    """Yield the time of a single append, and the rates of appending in bulk, without and with personal fields."""
    yield _single(pool, events)  # first: the table of the bare INSERT is as small as the log
    yield _bulk(pool, "bulk append, validated, deduplicated", events, ">= 0.5x and >= 100,000")
    yield _bulk(pool, "the same, names and e-mails encrypted", named(events), ">= 0.5x and >= 60,000")
    yield _bulk(pool, "each event with a name and an e-mail", registrations(events), "")


def named(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Return the simulator's events, its leads with a name and an e-mail address."""
    return [_named(event) if event.event_type == "lead_created" else event for event in events]


def registrations(events: Sequence[NewEvent]) -> list[NewEvent]:
    """Return leads alone, each event about a person of its own: the most that encryption can cost."""
    leads = itertools.cycle([event for event in events if event.event_type == "lead_created"])
    return [
        _named(replace(lead, event_id=f"lead-{number}", stream_id=f"lead-{number}"), str(number))
        for number, lead in enumerate(itertools.islice(leads, PERSONAL_EVENTS))
    ]


def _named(event: NewEvent, lead_id: str | None = None) -> NewEvent:
    data = orjson.loads(str(event.data))
    lead_id = lead_id or data["lead_id"]
    data |= {"lead_id": lead_id, "name": f"Ann Lee {lead_id}", "email": f"ann.{lead_id}@{data['email_domain']}"}
    return replace(event, data=orjson.dumps(data).decode())


def _bulk(pool: ConnectionPool, what: str, events: Sequence[NewEvent], limit: str) -> Figure:
    store = EventStore(pool)
    tenant = what.replace(",", "").replace(" ", "-")
    stored: list[bytes] = []
    sent = f"select 'raw', {COLUMNS} from event_log.events where tenant_id = '{tenant}-0' order by position"

    def append(round_: int) -> None:
        result = store.append_batch(f"{tenant}-{round_}", iter(events))
        assert result.accepted == len(events), result

    def copy(_: int) -> None:
        statement = f"copy event_log.events (tenant_id, {COLUMNS}) from stdin".encode()
        with pool.connection() as connection, connection.cursor() as cursor, cursor.copy(statement) as rows:
            for block in stored:
                rows.write(block)

    append(0)
    with (
        pool.connection() as connection,
        connection.cursor() as cursor,
        cursor.copy(f"copy ({sent}) to stdout".encode()) as rows,
    ):
        lines = map(bytes, rows)
        while block := b"".join(itertools.islice(lines, 1_000)):
            stored.append(block)
    ours, raw = in_turns(append, copy)
    return at_least(what, len(events) / ours, "raw COPY of the same rows", len(events) / raw, limit)


def _single(pool: ConnectionPool, events: Sequence[NewEvent]) -> Figure:
    store = EventStore(pool)
    ours: list[float] = []
    plain: list[float] = []
    with pool.connection() as session:
        session.autocommit = True
        for number, event in enumerate(events[:SINGLE_APPENDS]):
            row = [
                "single", number, event.source, event.event_id, event.stream_id, event.event_type,
                event.schema_version, event.sequence, event.occurred_at, event.data,
            ]  # fmt: skip
            plain.append(seconds(lambda row=row: session.execute(INSERT, row)))
            ours.append(seconds(lambda event=event: store.append("single", event.stream_id, [event])))
        session.autocommit = False
    ratio = statistics.median(ours) / statistics.median(plain)
    return Figure(
        "single append, p50",
        f"{statistics.median(ours) * 1000:.2f} ms",
        f"bare INSERT {statistics.median(plain) * 1000:.2f} ms",
        ratio,
        "<= 2x",
        ratio <= 2,
    )
