"""The test cases that the library `eventsourcing` ships for its own recorders, run over our log.

Others have thought of cases that we have not. The adapter below stands in for a recorder of theirs. Where a case
demands what our log decides otherwise:

- Their versions begin anywhere and may have holes; ours count a stream's events from 1. Theirs are kept as `sequence`
  and in the event's identity, so that a version is taken once, as they demand.
- Appending what the log has already, with the same content, is an error to them and a success to us. Each insert is
  therefore given a mark of its own in the payload, which makes it other content: a conflict.
- Event types come from a catalog: the adapter's tests admit any topic with a text as its state.
- `NonInterleavingNotificationIDsBaseCase` is left out: it demands that the positions of two transactions never
  interleave, for which writers must wait for each other. Ours do not; the settled position keeps readers safe instead
  (docs/decisions/0001-shared-lock-cursor.md). `InfrastructureFactoryTestCase` and `TranscoderTestCase` test other
  parts of the library.
- `max_notification_id` is the newest event up to the settled position, not the newest of all.
"""

from __future__ import annotations

import base64
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.event_log.catalog import Catalog
from analytics_pipelines.event_log.schemas.payload import Payload

pytest.importorskip("eventsourcing", reason="eventsourcing[crypto], whose test cases are run here, is not installed")

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.tests import persistence as cases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

TENANT = "recorder"
SELECT = """
    select stream_id, sequence, event_type, data->>'state' from event_log.events
    where tenant_id = %(tenant)s and stream_id = %(stream)s
        and sequence > coalesce(%(gt)s, -1) and sequence <= coalesce(%(lte)s, 2^62)
    order by stream_version {} limit %(limit)s
"""
POSITIONS = """
    select array_agg(position order by position) from event_log.event_ids
    where tenant_id = %s and source = %s and event_id = any(%s)
"""
NEWEST = "select position from event_log.events where position <= %s order by position desc limit 1"
TRACK = """
    insert into read_models.tracking as kept values (%s, %s)
    on conflict (application) do update set position = excluded.position where kept.position < excluded.position
"""


class Recorded(Payload):
    """The payload of any event of theirs."""

    state: str


class AnyTopic:
    """A catalog of event types that admits every topic."""

    def get(self, _key: tuple[str, int]) -> Any:
        """Return the one validator there is."""
        return Recorded.__pydantic_validator__


ANY_TOPIC: Any = AnyTopic()


class OurAggregateRecorder(AggregateRecorder):
    """Inserts and selects by stream."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Take a pool of runtime sessions."""
        self.pool = pool
        self.store = EventStore(pool, Catalog(ANY_TOPIC, {}, {}))

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append to the events' streams, all or none."""
        self.append(stored_events)
        return None

    def append(self, stored_events: Sequence[StoredEvent], connection: Connection | None = None) -> list[int]:
        """Append and return the positions."""
        if not stored_events:
            return []
        mark, now = str(uuid4()), datetime.now(UTC)
        events = [
            NewEvent(
                source=TENANT,
                event_id=f"{stored.originator_id}/{stored.originator_version}",
                stream_id=str(stored.originator_id),
                event_type=stored.topic,
                occurred_at=now,
                data={"state": base64.b64encode(stored.state).decode(), "mark": mark},
                sequence=stored.originator_version,
            )
            for stored in stored_events
        ]
        try:
            self.store.append_many(TENANT, events, connection=connection)
        except PipelinesError as error:
            raise IntegrityError(str(error)) from error
        identities = [event.event_id for event in events]
        with self.pool.connection() if connection is None else nullcontext(connection) as session:
            row = session.execute(POSITIONS, [TENANT, TENANT, identities]).fetchone()
        assert row is not None
        return row[0]

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Read one stream."""
        query = SELECT.format("desc" if desc else "")
        arguments = {"tenant": TENANT, "stream": str(originator_id), "gt": gt, "lte": lte, "limit": limit}
        with self.pool.connection() as connection:
            rows = connection.execute(query, arguments).fetchall()  # type: ignore[arg-type]
        return [StoredEvent(UUID(row[0]), row[1], row[2], base64.b64decode(row[3])) for row in rows]


class OurApplicationRecorder(OurAggregateRecorder, ApplicationRecorder):
    """Reads in the order of the log, up to the settled position."""

    def insert_events(self, stored_events: Sequence[StoredEvent], **_: Any) -> Sequence[int] | None:
        """Append and return the positions."""
        return self.append(stored_events)

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Read a section of the log."""
        after = 0 if start is None else start - inclusive_of_start
        events = self.store.read(after=after, up_to=stop, tenant_id=TENANT, event_types=topics or None)
        return [
            Notification(
                id=event.position,
                originator_id=UUID(event.stream_id),
                originator_version=event.sequence,
                topic=event.event_type,
                state=base64.b64decode(event.data["state"]),
            )
            for event, _ in zip(events, range(limit), strict=False)
        ]

    def max_notification_id(self) -> int | None:
        """Return the position of the newest settled event."""
        settled = self.store.settled_position()
        with self.pool.connection() as connection:
            row = connection.execute(NEWEST, [settled]).fetchone()
        return None if row is None else row[0]

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        """Follow the log."""
        return OurSubscription(self, gt, topics)


class OurSubscription(Subscription[ApplicationRecorder]):
    """Follows the log by asking again."""

    def __next__(self) -> Notification:
        """Return the next event, once there is one."""
        while not self._has_been_stopped:
            after = self._last_notification_id or 0
            for found in self._recorder.select_notifications(after, 1, topics=self._topics, inclusive_of_start=False):
                self._last_notification_id = found.id
                return found
            time.sleep(0.01)
        raise StopIteration


class OurTrackingRecorder(TrackingRecorder):
    """Keeps how far an upstream application has been processed."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Take a pool and make the table of positions."""
        self.pool = pool
        with pool.connection() as connection:
            connection.execute("create table read_models.tracking (application text primary key, position bigint)")

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move on to a position, in a transaction of its own."""
        with self.pool.connection() as connection:
            track(connection, tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return the position that was reached."""
        query = "select position from read_models.tracking where application = %s"
        with self.pool.connection() as connection:
            row = connection.execute(query, [application_name]).fetchone()
        return None if row is None else row[0]


class OurProcessRecorder(OurTrackingRecorder, OurApplicationRecorder, ProcessRecorder):
    """Commits the position with the events that were made of it."""

    def __init__(self, pool: ConnectionPool) -> None:
        """Take a pool and make the table of positions."""
        OurTrackingRecorder.__init__(self, pool)
        OurApplicationRecorder.__init__(self, pool)

    def insert_events(
        self, stored_events: Sequence[StoredEvent], *, tracking: Tracking | None = None, **_: Any
    ) -> Sequence[int] | None:
        """Append in one transaction with the position."""
        with self.pool.connection() as connection:
            if tracking is not None:
                track(connection, tracking)
            return self.append(stored_events, connection)


def track(connection: Connection, tracking: Tracking) -> None:
    """Move on to a position, never back."""
    if not connection.execute(TRACK, [tracking.application_name, tracking.notification_id]).rowcount:
        raise IntegrityError(f"{tracking.application_name} is beyond {tracking.notification_id}")


class OverOurLog:
    """A fresh database for each case, and a catalog that admits its topics."""

    recorder: type[Any]

    @pytest.fixture(autouse=True)
    def _over_our_log(self, database: ConnectionPool) -> None:
        self.pool = database

    def create_recorder(self) -> Any:
        """Return our recorder."""
        return self.recorder(self.pool)


class TestAggregateRecorder(OverOurLog, cases.AggregateRecorderTestCase):
    """Streams: atomic inserts, a version taken once, sections, newest first."""

    recorder = OurAggregateRecorder


class TestApplicationRecorder(OverOurLog, cases.ApplicationRecorderTestCase):
    """The order of the log, read while ten writers append; following it."""

    recorder = OurApplicationRecorder

    def test_insert_subscribe(self) -> None:
        """A subscription yields what is there and what comes, by topic, and stops when it is told."""
        self.optional_test_insert_subscribe()


class TestTrackingRecorder(OverOurLog, cases.TrackingRecorderTestCase):
    """Positions only move on."""

    recorder = OurTrackingRecorder


class TestProcessRecorder(OverOurLog, cases.ProcessRecorderTestCase):
    """Events and the position they were made of commit together or not at all."""

    recorder = OurProcessRecorder
