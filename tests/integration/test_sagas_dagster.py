"""Sagas as Dagster runs them: the asset, its checks, the sensor and the job."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from dagster import (
    AssetKey,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    RunRequest,
    build_sensor_context,
    materialize,
)

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.resources import Platform
from analytics_pipelines.sagas.assets import executions
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.checks import ended_sagas_say_so_in_the_log, inbox_is_empty
from analytics_pipelines.sagas.commands import sagas
from analytics_pipelines.sagas.enrolment import saga_id
from analytics_pipelines.sagas.jobs import campaign_launch_job
from analytics_pipelines.sagas.sensors import MOST_ATTEMPTS, SAGA_TAG, campaign_launch_sensor

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

SAGA_ID = saga_id(CAMPAIGN_LAUNCH, "saas", "crm", "request")


@pytest.fixture
def platform(database_settings: Settings, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The resource, over a fresh database, with no run in Dagster's storage: the sensor looks at those of its saga."""
    instance.wipe()
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    return Platform()


@pytest.fixture
def request_in_log(database: ConnectionPool, store: EventStore) -> ConnectionPool:
    """A request with its workspace and one lead, in a read model that is built."""
    occurred_at = datetime(2017, 6, 1, 12, tzinfo=UTC)
    workspace = {"workspace_id": "w1", "lead_id": "1", "plan": "team"}
    store.append(
        "saas", "workspace-w1", [NewEvent("crm", "w1", "workspace-w1", "workspace_created", occurred_at, workspace)]
    )
    data = {"campaign_id": "c1", "name": "Spring", "channel": "email", "workspace_id": "w1", "budget_credits": 10}
    request = NewEvent("crm", "request", "campaign-c1", "campaign_launch_requested", occurred_at, data)
    store.append("saas", "campaign-c1", [request])
    with database.connection() as connection:
        connection.execute("create table read_models.lead_analytics (tenant_id text, lead_id text, industry text)")
        connection.execute("insert into read_models.lead_analytics values ('saas', '1', 'retail')")
        connection.execute(
            "insert into progress.builds (tenant_id, asset_key, position, rows, seconds, code_version, run_id)"
            " values ('*', 'read_models/lead_analytics', 1000, 1, 0, '1', '')"
        )
    return database


def _tick(platform: Platform, instance: DagsterInstance) -> list[Any]:
    with build_sensor_context(instance=instance, resources={"platform": platform}) as context:
        return list(campaign_launch_sensor(context))  # type: ignore[arg-type]


def _status(pool: ConnectionPool) -> str:
    with pool.connection() as connection:
        row = connection.execute("select status from sagas.executions").fetchone()
    assert row is not None
    return row[0]


def test_a_request_makes_the_sensor_fire_a_job_that_completes(
    request_in_log: ConnectionPool, platform: Platform, instance: DagsterInstance
) -> None:
    """From a request in the log to a launched campaign: the sensor's own run request runs every step as an op."""
    [request] = _tick(platform, instance)
    assert (request.run_key, request.tags[SAGA_TAG]) == (f"{SAGA_ID}:1", SAGA_ID)
    result = campaign_launch_job.execute_in_process(
        run_config=request.run_config, tags=request.tags, instance=instance, resources={"platform": platform}
    )
    assert [event.step_key for event in result.get_step_success_events()] == [
        "start", "reserve_credits", "select_audience", "launch", "complete_or_compensate",
    ]  # fmt: skip
    assert _status(request_in_log) == "completed"
    assert [event.event_type for event in EventStore(request_in_log).read(stream_id="campaign-c1")] == [
        "campaign_launch_requested", "campaign_audience_selected", "campaign_launched",
    ]  # fmt: skip
    [materialization] = result.asset_materializations_for_node("complete_or_compensate")
    assert materialization.asset_key == AssetKey(["sagas", "executions"])
    assert materialization.metadata["status"].value == "completed"
    assert not any(isinstance(item, RunRequest) for item in _tick(platform, instance))


def test_a_failing_step_is_compensated_in_a_run_that_succeeds(
    request_in_log: ConnectionPool, platform: Platform, instance: DagsterInstance
) -> None:
    """Taking back is the job's work done: the run is green, the saga compensated, and no other run follows."""
    with request_in_log.connection() as connection:
        connection.execute("delete from read_models.lead_analytics")
    [request] = _tick(platform, instance)
    result = campaign_launch_job.execute_in_process(
        run_config=request.run_config, tags=request.tags, instance=instance, resources={"platform": platform}
    )
    assert result.success
    assert _status(request_in_log) == "compensated"
    assert not any(isinstance(item, RunRequest) for item in _tick(platform, instance))


def test_the_sensor_asks_for_one_run_at_a_time_and_gives_up_in_the_end(
    request_in_log: ConnectionPool, platform: Platform, instance: DagsterInstance
) -> None:
    """No second run beside a living one; after a dead one a new run key; after the last attempt the inbox."""
    for attempt in range(1, MOST_ATTEMPTS + 1):
        [request] = _tick(platform, instance)
        assert request.run_key == f"{SAGA_ID}:{attempt}"
        run = instance.add_run(
            DagsterRun(job_name="campaign_launch", status=DagsterRunStatus.STARTED, tags=dict(request.tags))
        )
        assert _tick(platform, instance) == []
        instance.report_run_failed(run)
    assert _tick(platform, instance) == []
    assert _status(request_in_log) == "inbox"


def test_a_run_that_died_is_carried_on_by_the_next(
    request_in_log: ConnectionPool, platform: Platform, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in a step fails the run and leaves the saga; the run of the next attempt completes it."""
    with request_in_log.connection() as connection:
        connection.execute("alter table read_models.lead_analytics rename to gone")
    [request] = _tick(platform, instance)
    run = {"run_config": request.run_config, "instance": instance, "resources": {"platform": platform}}
    assert not campaign_launch_job.execute_in_process(tags=request.tags, raise_on_error=False, **run).success
    assert _status(request_in_log) == "running"
    with request_in_log.connection() as connection:
        connection.execute("alter table read_models.gone rename to lead_analytics")
    [again] = _tick(platform, instance)
    assert again.run_key == f"{SAGA_ID}:2"
    assert campaign_launch_job.execute_in_process(tags=again.tags, **run).success
    assert _status(request_in_log) == "completed"


def test_the_asset_enrols_and_its_checks_pass(
    request_in_log: ConnectionPool, platform: Platform, instance: DagsterInstance
) -> None:
    """Materializing counts what was enrolled and every status, and the checks of an honest table pass."""
    result = materialize(
        [executions, ended_sagas_say_so_in_the_log, inbox_is_empty],
        resources={"platform": platform},
        instance=instance,
    )
    [materialization] = result.asset_materializations_for_node("sagas__executions")
    assert materialization.metadata["enrolled"].value == 1
    assert materialization.metadata["sagas_by_status"].value == {"pending": 1}
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
    with request_in_log.connection() as connection:
        connection.execute("update sagas.executions set status = 'completed', ended_at = now()")
    result = materialize(
        [executions, ended_sagas_say_so_in_the_log], resources={"platform": platform}, instance=instance
    )
    assert not any(evaluation.passed for evaluation in result.get_asset_check_evaluations())


def test_the_command_line_runs_what_is_due_and_lists_it(request_in_log: ConnectionPool, platform: Platform) -> None:
    """`sagas run` does without a daemon what the sensor does; `sagas list --json` is for programs."""
    del platform
    assert CliRunner().invoke(sagas, ["run"]).output == "enrolled 1, completed 1\n"
    assert CliRunner().invoke(sagas, ["run", SAGA_ID, "--tenant", "saas"]).output == "completed\n"
    assert CliRunner().invoke(sagas, ["run", SAGA_ID]).exit_code == 2
    listed = json.loads(CliRunner().invoke(sagas, ["list", "--json", "--tenant", "saas"]).output)
    assert [(row["saga_id"], row["status"], row["requested_at"]) for row in listed] == [
        (SAGA_ID, "completed", "2017-06-01T12:00:00+00:00")
    ]
    assert "has no events" in str(CliRunner().invoke(sagas, ["list", "--json", "--tenant", "other"]).exception)
    assert "campaign_launch  completed" in CliRunner().invoke(sagas, ["list"]).output
    assert _status(request_in_log) == "completed"
