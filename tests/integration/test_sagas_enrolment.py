"""Enrolment on a real database: each request that settled becomes one saga."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.sagas import enrolment
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.enrolment import enrol, saga_id

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

REQUEST = '{"campaign_id": "%s", "name": "Spring", "channel": "email", "workspace_id": "w1", "budget_credits": 0.10}'


def _request(store: EventStore, name: str, tenant_id: str = "saas", connection: Connection | None = None) -> None:
    event = NewEvent(
        "crm",
        f"request-{name}",
        f"campaign-{name}",
        "campaign_launch_requested",
        datetime(2017, 6, 1, 12, tzinfo=UTC),
        REQUEST % name,
        correlation_id=f"correlation-{name}" if name == "a" else None,
    )
    store.append(tenant_id, event.stream_id, [event], connection=connection)


def _enrolled(pool: ConnectionPool) -> list[tuple[str, ...]]:
    with pool.connection() as connection:
        return connection.execute(
            "select tenant_id, request_event_id, status from sagas.executions order by request_position"
        ).fetchall()


def test_a_request_is_enrolled_once(database: ConnectionPool, store: EventStore) -> None:
    """Enrolling again enrols what is new and nothing else; the same id of another tenant is another request."""
    _request(store, "a")
    assert [enrol(database, CAMPAIGN_LAUNCH) for _ in range(2)] == [1, 0]
    _request(store, "b")
    _request(store, "a", tenant_id="other")
    assert [enrol(database, CAMPAIGN_LAUNCH) for _ in range(2)] == [2, 0]
    assert _enrolled(database) == [
        ("saas", "request-a", "pending"),
        ("saas", "request-b", "pending"),
        ("other", "request-a", "pending"),
    ]


def test_the_row_holds_the_request(database: ConnectionPool, store: EventStore) -> None:
    """Payload (to the last digit), correlation, event time and place in the log come from the request."""
    _request(store, "a")
    _request(store, "b")
    enrol(database, CAMPAIGN_LAUNCH)
    with database.connection() as connection:
        rows = connection.execute(
            "select e.context = l.data and e.context ->> 'budget_credits' = '0.10', e.requested_at = l.occurred_at,"
            " e.next_sequence = l.sequence + 1, e.correlation_id in (l.correlation_id, e.saga_id)"
            " from sagas.executions as e join event_log.events as l on l.position = e.request_position"
        ).fetchall()
        ids = connection.execute("select correlation_id from sagas.executions order by request_position").fetchall()
    assert rows == [(True, True, True, True)] * 2
    assert ids == [("correlation-a",), (saga_id(CAMPAIGN_LAUNCH, "saas", "crm", "request-b"),)]


def test_enrolments_at_the_same_time_enrol_once(database: ConnectionPool, store: EventStore) -> None:
    """The sensor and the asset may enrol together; between them they count each request once."""
    for number in range(50):
        _request(store, str(number))
    at_once = threading.Barrier(4)
    counts: list[int] = []

    def run() -> None:
        at_once.wait()
        counts.append(enrol(database, CAMPAIGN_LAUNCH))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 50
    assert len(_enrolled(database)) == 50


def test_a_request_that_commits_late_is_not_skipped(database: ConnectionPool, store: EventStore) -> None:
    """A request with a lower position that commits after a higher one was seen is enrolled all the same."""
    with database.connection() as slow:
        with slow.transaction():
            _request(store, "slow", connection=slow)
            _request(store, "fast")
            enrol(database, CAMPAIGN_LAUNCH)
            assert ("saas", "request-slow", "pending") not in _enrolled(database)
        enrol(database, CAMPAIGN_LAUNCH)
    assert [name for _, name, _ in _enrolled(database)] == ["request-slow", "request-fast"]


def test_a_kill_before_the_commit_loses_nothing(
    database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint moves with the rows: broken off before the commit, the next enrolment finds the request again."""
    _request(store, "a")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(enrolment.progress, "write_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            enrol(database, CAMPAIGN_LAUNCH)
    assert _enrolled(database) == []
    assert enrol(database, CAMPAIGN_LAUNCH) == 1


def test_a_lost_checkpoint_doubles_nothing(database: ConnectionPool, store: EventStore) -> None:
    """Reading the log from its beginning again finds every request enrolled."""
    _request(store, "a")
    enrol(database, CAMPAIGN_LAUNCH)
    with database.connection() as connection:
        connection.execute("delete from progress.checkpoints")
    assert enrol(database, CAMPAIGN_LAUNCH) == 0
    assert len(_enrolled(database)) == 1


def test_many_requests_are_enrolled_in_chunks(
    database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog larger than one chunk is enrolled completely, each of them once."""
    monkeypatch.setattr(enrolment, "CHUNK_REQUESTS", 2)
    for name in "abcde":
        _request(store, name)
    assert enrol(database, CAMPAIGN_LAUNCH) == 5
    assert enrol(database, CAMPAIGN_LAUNCH) == 0
