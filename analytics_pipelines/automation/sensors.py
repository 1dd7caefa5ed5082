"""Sensors of jobs that cross rooms.

Defines those that watch the landing folder and the outbox, whose jobs build every room, the one that watches the log
for the read models, and the one that looks after dead runs.
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

from analytics_pipelines.automation.jobs import WRITES_LINEAGE, advance, landing, outbox
from analytics_pipelines.automation.selection import run_of
from analytics_pipelines.read_models.models import READ_MODELS
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
    from analytics_pipelines.ingestion.landing import ignored, waiting

    files = [f"{tenant}/{path.name}" for tenant, path in waiting(platform.settings.landing)]
    if not files:
        left = "".join(f"; {name}: {reason}" for name, reason in ignored(platform.settings.landing).items())
        yield SkipReason(f"no complete file waits in {platform.settings.landing}{left}")
    elif context.instance.get_runs(RunsFilter(job_name=landing.name, statuses=_UNFINISHED), limit=1):
        yield SkipReason(f"{len(files)} files wait; a run is on its way")
    else:
        yield run_of(landing, context, platform.pool, {"pipelines/files": str(len(files))})


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
        yield run_of(outbox, context, platform.pool)


@sensor(
    name="log_has_grown",
    job=advance,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Starts the job advance when settled events change a read model, whoever appended these.",
)
def log_has_grown(context: SensorEvaluationContext, platform: Platform) -> Iterator[RunRequest | SkipReason]:
    """Ask for one run for each position that the log has come to, unless a run is building tables already.

    How far a model has come stands in its checkpoint: what a run did not do is asked for again when the log grows on,
    and not before, so that a failing run is no flood. The cursor says up to where events change no model.
    """
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.read_models import projector

    if context.instance.get_runs(RunsFilter(tags=WRITES_LINEAGE, statuses=_UNFINISHED), limit=1):
        yield SkipReason("a run is building tables")
        return
    settled = EventStore(platform.pool).settled_position()
    with platform.pool.connection() as connection:
        behind = projector.behind(connection, READ_MODELS.values(), settled, after=int(context.cursor or 0))
    if behind:
        yield RunRequest(run_key=str(settled), tags={"pipelines/behind": str(len(behind))})
    else:
        context.update_cursor(str(settled))
        yield SkipReason(f"no read model is changed by what the log has, up to position {settled}")


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


SENSORS = [landing_folder, log_has_grown, dead_runs]
OUTBOX_SENSORS = [outbox_table]
"""Only where an outbox is configured."""
