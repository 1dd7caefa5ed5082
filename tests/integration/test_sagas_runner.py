"""The saga runner on a real database: guarantee 8, a saga always ends, and its effects happen once."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.sagas import Effect, Outcome, Saga, Step, StepContext, StepFailedError
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.catalog import SAGAS
from analytics_pipelines.sagas.enrolment import enrol
from analytics_pipelines.sagas.enrolment import saga_id as saga_id_of
from analytics_pipelines.sagas.executions import due, without_last_event
from analytics_pipelines.sagas.runner import Runner, SagaBusyError, run_due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

REQUESTED_AT = datetime(2017, 6, 1, 12, tzinfo=UTC)
RAN_AT = datetime(2026, 1, 1, tzinfo=UTC)
TRANSITIONS = 8
"""Commits of a campaign launch, whether it completes or is compensated after its second step."""


@pytest.fixture
def crm(database: ConnectionPool) -> ConnectionPool:
    """A database with a read model of leads, two of the industry "retail"."""
    with database.connection() as connection:
        connection.execute("create table read_models.lead_analytics (tenant_id text, lead_id text, industry text)")
        connection.execute(
            "insert into read_models.lead_analytics values"
            " ('saas', '1', 'retail'), ('saas', '2', 'retail'), ('saas', '3', 'health'), ('other', '4', 'mining')"
        )
    return database


def _append(pool: ConnectionPool, event_type: str, stream_id: str, data: dict[str, Any], event_id: str = "") -> None:
    event = NewEvent("crm", event_id or stream_id, stream_id, event_type, REQUESTED_AT, data, sequence=7)
    EventStore(pool).append("saas", stream_id, [event])


def _request(pool: ConnectionPool, campaign_id: str = "c1", saga: Saga = CAMPAIGN_LAUNCH, **changes: Any) -> str:
    """Create a workspace and ask it for a campaign, enrol the request, and return the saga's id."""
    workspace = {"workspace_id": f"w-{campaign_id}", "lead_id": "1", "plan": "team"}
    _append(pool, "workspace_created", f"workspace-w-{campaign_id}", workspace)
    data = {
        "campaign_id": campaign_id,
        "name": "Spring",
        "channel": "email",
        "workspace_id": f"w-{campaign_id}",
        "budget_credits": Decimal("12.50"),
        "audience_industry": "retail",
        **changes,
    }
    _append(pool, "campaign_launch_requested", f"campaign-{campaign_id}", data, f"request-{campaign_id}")
    assert enrol(pool, saga) == 1
    return saga_id_of(saga, "saas", "crm", f"request-{campaign_id}")


def _runner(pool: ConnectionPool, *sagas: Saga) -> Runner:
    return Runner(pool, {saga.name: saga for saga in sagas} or SAGAS, clock=lambda: RAN_AT)


def _log(pool: ConnectionPool) -> list[tuple[str, str, dict[str, Any]]]:
    """What sagas appended: stream, type and payload in the order of their event time."""
    events = [event for event in EventStore(pool).read() if event.source == "sagas"]
    events.sort(key=lambda event: (event.occurred_at, event.sequence))
    return [(event.stream_id, event.event_type, event.data) for event in events]


def _left_behind(pool: ConnectionPool, saga_id: str, campaign_id: str) -> str:
    """All that a saga leaves behind, but for the numbers of its attempts and for what is its own: ids and log time."""
    queries = (
        """
        select saga_id, status, reason, next_sequence, started_at, ended_at
        from sagas.executions where saga_id = %s
        """,
        """
        select step, kind, status, result, reason, started_at, ended_at
        from sagas.steps where saga_id = %s order by step, kind
        """,
        """
        select event_id, stream_id, stream_version, event_type, sequence, occurred_at, causation_id, data::text
        from event_log.events where correlation_id = %s order by event_id
        """,
    )
    with pool.connection() as connection:
        left = [connection.execute(query, [saga_id]).fetchall() for query in queries]
    return repr(left).replace(saga_id, "SAGA").replace(campaign_id, "CAMPAIGN")


def test_a_launch_completes(crm: ConnectionPool) -> None:
    """Every step takes effect once, in order, and the log tells the story with exact numbers."""
    saga_id = _request(crm)
    assert _runner(crm).run("saas", saga_id) == "completed"
    about = {"saga_id": saga_id, "saga": "campaign_launch"}
    credits_reserved = {"workspace_id": "w-c1", "credits": Decimal("12.50"), "campaign_id": "c1"}
    launched = {"campaign_id": "c1", "name": "Spring", "channel": "email", "starts_on": "2017-06-01"}
    assert _log(crm) == [
        (f"saga-{saga_id}", "saga_started", about),
        ("workspace-w-c1", "credits_reserved", credits_reserved),
        (f"saga-{saga_id}", "saga_step_completed", {**about, "step": "reserve_credits"}),
        ("campaign-c1", "campaign_audience_selected", {"campaign_id": "c1", "leads": 2}),
        (f"saga-{saga_id}", "saga_step_completed", {**about, "step": "select_audience"}),
        ("campaign-c1", "campaign_launched", launched),
        (f"saga-{saga_id}", "saga_step_completed", {**about, "step": "launch"}),
        (f"saga-{saga_id}", "saga_completed", about),
    ]


def test_an_empty_audience_gives_the_credits_back(crm: ConnectionPool) -> None:
    """A step that fails takes back the steps before it, and the reason stands in the log and in the row."""
    saga_id = _request(crm, audience_industry="mining")
    assert _runner(crm).run("saas", saga_id) == "compensated"
    assert [event_type for _, event_type, _ in _log(crm)] == [
        "saga_started",
        "credits_reserved",
        "saga_step_completed",
        "saga_step_failed",
        "credits_released",
        "saga_step_compensated",
        "saga_compensated",
    ]
    reason = "action of select_audience: no lead is in the audience (industry mining)"
    assert _log(crm)[-1][2]["reason"] == reason
    with crm.connection() as connection:
        assert connection.execute("select reason from sagas.executions").fetchone() == (reason,)


def test_an_unknown_workspace_fails_before_any_effect(crm: ConnectionPool) -> None:
    """Without a workspace nothing is reserved, and nothing is there to be taken back."""
    assert _runner(crm).run("saas", _request(crm, workspace_id="nobody")) == "compensated"
    assert {stream_id.split("-")[0] for stream_id, *_ in _log(crm)} == {"saga"}


def test_an_audience_of_all_leads_is_that_of_the_tenant(crm: ConnectionPool) -> None:
    """Without an industry every lead is addressed, and none of another tenant."""
    _runner(crm).run("saas", _request(crm, audience_industry=None))
    assert [data["leads"] for _, event_type, data in _log(crm) if event_type == "campaign_audience_selected"] == [3]


def test_events_of_a_saga_are_the_requests_consequence(crm: ConnectionPool) -> None:
    """They happen at the event time of the request, after it, with its correlation: no watermark moves to today."""
    saga_id = _request(crm)
    _runner(crm).run("saas", saga_id)
    events = [event for event in EventStore(crm).read() if event.source == "sagas"]
    assert {event.occurred_at for event in events} == {REQUESTED_AT}
    assert sorted(event.sequence for event in events) == list(range(8, 16))
    assert {(event.correlation_id, event.causation_id) for event in events} == {(saga_id, "request-c1")}


class _Killed(BaseException):
    """Not an Exception: nothing may catch it on its way out."""


@contextmanager
def _killed_at(commit: int, moment: str) -> Iterator[None]:
    """Break off around one of the commits: before it, when everything in it is lost, or right after it."""
    original = psycopg.Connection.transaction
    commits = itertools.count(1)

    @contextmanager
    def transaction(self: psycopg.Connection, *arguments: Any, **options: Any) -> Iterator[Any]:
        is_outermost = self.info.transaction_status == TransactionStatus.IDLE
        is_the_one = False
        with original(self, *arguments, **options) as block:
            yield block
            is_the_one = is_outermost and next(commits) == commit
            if is_the_one and moment == "before":
                raise _Killed
        if is_the_one:
            raise _Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.Connection, "transaction", transaction)
        yield


@pytest.mark.parametrize("industry", ["retail", "mining"], ids=["completes", "compensates"])
@pytest.mark.prove
def test_a_kill_at_any_commit_changes_nothing_in_the_end(crm: ConnectionPool, industry: str) -> None:
    """Killed before or after any of its commits and run again, a saga leaves the same rows and events as unharmed."""
    unharmed = _request(crm, "unharmed", audience_industry=industry)
    _runner(crm).run("saas", unharmed)
    expected = _left_behind(crm, unharmed, "unharmed")
    for commit, moment in itertools.product(range(1, TRANSITIONS + 1), ("before", "after")):
        campaign_id = f"killed_{moment}_{commit}"
        saga_id = _request(crm, campaign_id, audience_industry=industry)
        with pytest.raises(_Killed), _killed_at(commit, moment):
            _runner(crm).run("saas", saga_id)
        _runner(crm).run("saas", saga_id)
        assert _left_behind(crm, saga_id, campaign_id) == expected, campaign_id

    saga_id = _request(crm, "last", audience_industry=industry)
    with _killed_at(TRANSITIONS + 1, "before"):  # there is none: all of them were tried
        _runner(crm).run("saas", saga_id)


def test_a_killed_process_frees_the_saga_and_another_completes_it(
    crm: ConnectionPool, database_settings: Settings
) -> None:
    """A real SIGKILL in the middle of a step: the lock dies with the session, and the step takes effect once."""
    saga_id = _request(crm)
    script = """
import os, signal, sys
from analytics_pipelines.connections import open_pool
from analytics_pipelines.sagas import Saga, Step
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH, reserve_credits, launch
from analytics_pipelines.sagas.runner import Runner
from analytics_pipelines.settings import load_settings

def killed(context):
    os.kill(os.getpid(), signal.SIGKILL)

steps = (CAMPAIGN_LAUNCH.steps[0], Step("select_audience", killed), CAMPAIGN_LAUNCH.steps[2])
with open_pool(load_settings()) as pool:
    Runner(pool, {"campaign_launch": Saga("campaign_launch", steps, "x")}).run("saas", sys.argv[1])
"""
    assert database_settings.database_url is not None
    url = database_settings.database_url.get_secret_value()
    died = subprocess.run(
        [sys.executable, "-c", script, saga_id], env={**os.environ, "PIPELINES_DATABASE_URL": url}, check=False
    )
    assert died.returncode == -9
    for _ in range(100):
        try:
            status = _runner(crm).run("saas", saga_id)
            break
        except SagaBusyError:  # until the server sees that the process is gone
            time.sleep(0.05)
    else:
        pytest.fail("the lock outlived the process")
    assert status == "completed"
    assert [event_type for _, event_type, _ in _log(crm)].count("credits_reserved") == 1
    with crm.connection() as connection:
        attempts = connection.execute("select step, attempt from sagas.steps order by started_at").fetchall()
        assert connection.execute("select attempts from sagas.executions").fetchone() == (2,)
    assert dict(attempts) == {"reserve_credits": 1, "select_audience": 2, "launch": 1}


def _recorded(calls: list[str], name: str, *, fails: bool = False) -> Callable[[StepContext], Outcome]:
    """An action that notes that it was called."""

    def action(context: StepContext) -> Outcome:
        calls.append(name)
        time.sleep(0.02)
        if fails:
            raise StepFailedError(f"{name} is impossible")
        selected = {"campaign_id": context.request["campaign_id"], "leads": len(calls)}
        return Outcome(
            {"seen": sorted(context.results)}, (Effect("campaign-x", "campaign_audience_selected", selected),)
        )

    return action


def _trip(calls: list[str], **changes: Step) -> Saga:
    """A saga of four steps, of which the third has nothing to take back and the last one fails."""
    steps = {
        "a": Step("a", _recorded(calls, "a"), _recorded(calls, "undo a")),
        "b": Step("b", _recorded(calls, "b"), _recorded(calls, "undo b")),
        "c": Step("c", _recorded(calls, "c")),
        "d": Step("d", _recorded(calls, "d", fails=True), _recorded(calls, "undo d")),
        **changes,
    }
    return Saga("trip", tuple(steps.values()), request_event="campaign_launch_requested")


def test_compensation_runs_in_reverse_order(crm: ConnectionPool) -> None:
    """Completed steps are taken back the last one first; the failed one and those without compensation are not."""
    calls: list[str] = []
    saga = _trip(calls)
    assert _runner(crm, saga).run("saas", _request(crm, saga=saga)) == "compensated"
    assert calls == ["a", "b", "c", "d", "undo b", "undo a"]


def test_steps_see_the_results_of_those_before(crm: ConnectionPool) -> None:
    """A result is kept in the database and handed to later steps, not those of failed ones."""
    saga = _trip([])
    _runner(crm, saga).run("saas", _request(crm, saga=saga))
    with crm.connection() as connection:
        rows = connection.execute("select step || ' ' || kind, result from sagas.steps where status = 'completed'")
        seen = {name: result["seen"] for name, result in rows}
    assert seen == {
        "a action": [],
        "b action": ["a"],
        "c action": ["a", "b"],
        "b compensation": ["a", "b", "c"],
        "a compensation": ["a", "b", "c"],
    }


def test_a_failing_compensation_goes_to_the_inbox(crm: ConnectionPool) -> None:
    """What cannot be taken back waits for an operator with the reason, and is not touched by another run."""
    calls: list[str] = []
    saga = _trip(calls, b=Step("b", _recorded(calls, "b"), _recorded(calls, "undo b", fails=True)))
    saga_id = _request(crm, saga=saga)
    assert _runner(crm, saga).run("saas", saga_id) == "inbox"
    with crm.connection() as connection:
        row = connection.execute("select reason, ended_at from sagas.executions").fetchone()
    assert row == ("compensation of b: undo b is impossible", RAN_AT)
    about = {"saga_id": saga_id, "saga": "trip", "step": "b", "reason": "undo b is impossible"}
    assert [told[1:] for told in _log(crm)[-2:]] == [("saga_step_failed", about), ("saga_suspended", about)]
    called = len(calls)
    assert _runner(crm, saga).run("saas", saga_id) == "inbox"
    assert len(calls) == called


def test_a_fault_is_no_failure(crm: ConnectionPool) -> None:
    """An exception that no step declares leaves the saga where it was; the next run tries the step again."""
    calls: list[str] = []
    saga = _trip(calls, d=Step("d", _recorded(calls, "d")))
    broken = _trip(calls, d=Step("d", lambda _: 1 / 0))  # type: ignore[arg-type,return-value]
    saga_id = _request(crm, saga=saga)
    with pytest.raises(ZeroDivisionError):
        _runner(crm, broken).run("saas", saga_id)
    assert _runner(crm, saga).run("saas", saga_id) == "completed"
    assert calls == ["a", "b", "c", "d"]


def test_doubt_about_an_effect_that_cannot_be_repeated_goes_to_the_inbox(crm: ConnectionPool) -> None:
    """A step that may have taken effect before a kill, on a service without idempotency, is never run a second time."""
    calls: list[str] = []
    saga = _trip(calls, b=Step("b", _recorded(calls, "b"), repeatable=False))
    saga_id = _request(crm, saga=saga)
    with pytest.raises(_Killed), _killed_at(5, "before"):  # started, a begun, a, b begun, b
        _runner(crm, saga).run("saas", saga_id)
    assert calls == ["a", "b"]
    assert _runner(crm, saga).run("saas", saga_id) == "inbox"
    assert calls == ["a", "b"]


def test_two_runners_run_each_step_once(crm: ConnectionPool) -> None:
    """Of two runners that start together one does the work; the other is told, or finds it done."""
    calls: list[str] = []
    saga = _trip(calls)
    saga_id = _request(crm, saga=saga)
    at_once = threading.Barrier(2)
    outcomes: list[str] = []

    def run() -> None:
        at_once.wait()
        try:
            outcomes.append(_runner(crm, saga).run("saas", saga_id))
        except SagaBusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) in (["busy", "compensated"], ["compensated", "compensated"])
    assert calls == ["a", "b", "c", "d", "undo b", "undo a"]
    with crm.connection() as connection:
        assert connection.execute("select max(attempt) from sagas.steps").fetchone() == (1,)


def test_advancing_stops_at_the_step(crm: ConnectionPool) -> None:
    """A job that shows each step on its own carries the saga on to that step and no further."""
    calls: list[str] = []
    saga = _trip(calls)
    saga_id = _request(crm, saga=saga)
    runner = _runner(crm, saga)
    assert (runner.start("saas", saga_id), calls) == ("running", [])
    assert (runner.advance("saas", saga_id, "b"), calls) == ("running", ["a", "b"])
    assert (runner.advance("saas", saga_id, "b"), calls) == ("running", ["a", "b"])
    assert (runner.advance("saas", saga_id, "d"), calls) == ("compensating", ["a", "b", "c", "d"])
    assert (runner.finish("saas", saga_id), calls[4:]) == ("compensated", ["undo b", "undo a"])
    with crm.connection() as connection:
        assert connection.execute("select attempts from sagas.executions").fetchone() == (1,)


def test_a_saga_given_up_is_in_the_inbox_unless_it_has_ended(crm: ConnectionPool) -> None:
    """Giving up keeps the reason, and changes nothing about a saga that came to an end."""
    given_up, completed = _request(crm, "c1"), _request(crm, "c2")
    _runner(crm).run("saas", completed)
    for saga_id in (given_up, completed):
        _runner(crm).give_up("saas", saga_id, "five runs failed")
    with crm.connection() as connection:
        rows = dict(connection.execute("select saga_id, status || coalesce(': ' || reason, '') from sagas.executions"))
    assert rows == {given_up: "inbox: five runs failed", completed: "completed"}
    about = {"saga_id": given_up, "saga": "campaign_launch", "reason": "five runs failed"}
    assert [told for told in _log(crm) if told[1] == "saga_suspended"] == [
        (f"saga-{given_up}", "saga_suspended", about)
    ]
    with crm.connection() as connection:
        assert without_last_event(connection) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_giving_up_and_saying_so_are_one_commit(crm: ConnectionPool, moment: str) -> None:
    """Killed around its commit, giving up has left both the state and the event, or neither; the next completes it."""
    saga_id = _request(crm)
    with pytest.raises(_Killed), _killed_at(1, moment):
        _runner(crm).give_up("saas", saga_id, "five runs failed")
    with crm.connection() as connection:
        row = connection.execute("select status from sagas.executions").fetchone()
    assert row is not None
    assert (row[0], len(_log(crm))) == (("pending", 0) if moment == "before" else ("inbox", 1))
    _runner(crm).give_up("saas", saga_id, "five runs failed")
    assert [event_type for _, event_type, _ in _log(crm)] == ["saga_suspended"]


def test_an_unknown_saga_is_one_clear_line(crm: ConnectionPool) -> None:
    """A mistyped id, another tenant's id, or a saga whose code is gone is answered by what to do."""
    saga_id = _request(crm)
    for tenant_id, wanted in (("saas", "nothing"), ("other", saga_id)):
        with pytest.raises(PipelinesError, match="has no saga"):
            _runner(crm).run(tenant_id, wanted)
    with pytest.raises(PipelinesError, match="nobody declares"):
        _runner(crm, _trip([])).run("saas", saga_id)


def test_sessions_come_back_as_they_were(crm: ConnectionPool) -> None:
    """The runner leaves no lock and no autocommit session in the pool."""
    _runner(crm).run("saas", _request(crm))
    with crm.connection() as connection:
        assert not connection.autocommit
        assert connection.execute("select count(*) from pg_locks where locktype = 'advisory'").fetchone() == (0,)


def test_a_saga_waits_until_what_it_reads_is_built(crm: ConnectionPool) -> None:
    """A step never decides on a read model that is older than the request."""
    saga_id = _request(crm)
    with crm.connection() as connection:
        row = connection.execute("select request_position from sagas.executions").fetchone()
    assert row is not None
    for built_to, expected in ((row[0] - 1, []), (row[0], [saga_id])):
        with crm.connection() as connection:
            connection.execute(
                "insert into progress.builds (tenant_id, asset_key, position, rows, seconds, code_version, run_id)"
                " values ('*', 'read_models/lead_analytics', %s, 0, 0, '1', '') on conflict (tenant_id, asset_key)"
                " do update set position = excluded.position",
                [built_to],
            )
        with crm.connection() as connection:
            assert [one.saga_id for one in due(connection, CAMPAIGN_LAUNCH)] == expected
    assert run_due(crm, CAMPAIGN_LAUNCH) == ["completed"]
    assert run_due(crm, CAMPAIGN_LAUNCH) == []


def test_an_end_without_its_event_is_found(crm: ConnectionPool) -> None:
    """A row that claims an end which the log does not tell is reported; honest rows are not."""
    honest, forged = _request(crm, "c1"), _request(crm, "c2")
    _runner(crm).run("saas", honest)
    with crm.connection() as connection:
        assert without_last_event(connection) == []
        connection.execute(
            "update sagas.executions set status = 'completed', ended_at = now() where saga_id = %s", [forged]
        )
        assert without_last_event(connection) == [(forged, "completed", None)]
