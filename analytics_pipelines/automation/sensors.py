"""Sensors of jobs that cross rooms.

Defines those that watch the landing folder and the outbox, whose jobs build every room, and the one that looks after
dead runs.
"""

from collections.abc import Iterator

from dagster import (
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)

from analytics_pipelines.automation.jobs import landing, outbox
from analytics_pipelines.resources import Platform

_UNFINISHED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@sensor(
    name="landing_folder",
    job=landing,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts the job landing when complete files wait in the landing folder.",
)
def landing_folder(context: SensorEvaluationContext, platform: Platform) -> Iterator[RunRequest | SkipReason]:
    """Ask for a run while files wait, one at a time.

    There is no run key: a file that is still there after a run ended badly must be tried again.
    """
    from analytics_pipelines.ingestion.landing import waiting

    files = [f"{tenant}/{path.name}" for tenant, path in waiting(platform.settings.landing)]
    if not files:
        yield SkipReason(f"no complete file waits in {platform.settings.landing}")
    elif context.instance.get_runs(RunsFilter(job_name=landing.name, statuses=_UNFINISHED), limit=1):
        yield SkipReason(f"{len(files)} files wait; a run is on its way")
    else:
        yield RunRequest(tags={"pipelines/files": str(len(files))})


@sensor(
    name="outbox_table",
    job=outbox,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts the job outbox when the outbox has rows that are settled and new.",
)
def outbox_table(context: SensorEvaluationContext, platform: Platform) -> Iterator[RunRequest | SkipReason]:
    """Ask for a run while rows wait, one at a time."""
    from analytics_pipelines.ingestion.outbox import configured, has_news

    source = configured(platform.settings)
    if not has_news(platform.pool, source):
        yield SkipReason(f"nothing new in {source.name}")
    elif context.instance.get_runs(RunsFilter(job_name=outbox.name, statuses=_UNFINISHED), limit=1):
        yield SkipReason("rows wait; a run is on its way")
    else:
        yield RunRequest()


@sensor(
    name="dead_runs",
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Ends runs whose process was killed, so that they are tried again and hold nothing back.",
)
def dead_runs(context: SensorEvaluationContext) -> SkipReason:
    """End what is dead."""
    from analytics_pipelines.automation.dead_runs import end_dead_runs

    return SkipReason(f"ended {end_dead_runs(context.instance)} runs whose process is gone")


SENSORS = [landing_folder, dead_runs]
OUTBOX_SENSORS = [outbox_table]
"""Only where an outbox is configured."""
