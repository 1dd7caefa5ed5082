"""Saga sensors: they watch the log for requests, and see to it that every saga ends.

Defines one sensor per saga. It keeps no cursor: what was requested is in the checkpoint of the enrolment, what has not
ended is in `sagas.executions`, and how often it was tried is in Dagster's runs.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from dagster import (
    DagsterRun,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from analytics_pipelines.resources import Platform
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.jobs import campaign_launch_job

SAGAS_PER_TICK = 50
MOST_ATTEMPTS = 5
SAGA_TAG = "pipelines/saga_id"


@sensor(job=campaign_launch_job, minimum_interval_seconds=30, default_status=DefaultSensorStatus.RUNNING)
def campaign_launch_sensor(context: SensorEvaluationContext, platform: Platform) -> Iterator[RunRequest | SkipReason]:
    """Enrol the launches requested since the last tick, and ask for a run of each saga that needs one."""
    from analytics_pipelines.sagas.enrolment import enrol
    from analytics_pipelines.sagas.executions import due
    from analytics_pipelines.sagas.runner import Runner, SagaBusyError

    enrol(platform.pool, CAMPAIGN_LAUNCH)
    with platform.pool.connection() as connection:
        sagas = due(connection, CAMPAIGN_LAUNCH, SAGAS_PER_TICK)
    if not sagas:
        yield SkipReason("no saga is due")
    for saga in sagas:
        attempt = next_attempt(context.instance.get_runs(RunsFilter(tags={SAGA_TAG: saga.saga_id})))
        if attempt is None:
            continue
        if attempt > MOST_ATTEMPTS:
            reason = f"{MOST_ATTEMPTS} runs did not bring it to an end; look at the runs tagged {SAGA_TAG}"
            with suppress(SagaBusyError):  # somebody runs it by hand just now: it is looked at again at the next tick
                Runner(platform.pool).give_up(saga.tenant_id, saga.saga_id, reason)
            continue
        yield RunRequest(
            run_key=f"{saga.saga_id}:{attempt}",
            run_config={"tenant_id": saga.tenant_id, "saga_id": saga.saga_id},
            tags={
                SAGA_TAG: saga.saga_id,
                "pipelines/tenant_id": saga.tenant_id,
                "pipelines/correlation_id": saga.correlation_id,
            },
        )


def next_attempt(runs: Sequence[DagsterRun]) -> int | None:
    """Return the number of the next attempt, or None while a run is under way.

    A run key is never used twice: Dagster would drop the second run in silence, for ever.
    """
    if any(not run.is_finished for run in runs):
        return None
    return len(runs) + 1


SENSORS = [campaign_launch_sensor]
