"""When jobs that cross rooms run by themselves. Times are UTC."""

from dagster import DefaultScheduleStatus, RunRequest, ScheduleDefinition, ScheduleEvaluationContext, schedule

from analytics_pipelines.automation.jobs import clean_up, lineage, nightly_checks, reports
from analytics_pipelines.automation.selection import run_of
from analytics_pipelines.resources import Platform


@schedule(
    name="nightly_lineage",
    job=lineage,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every night at 02:00 UTC, build everything.",
)
def nightly_lineage(context: ScheduleEvaluationContext, platform: Platform) -> RunRequest:
    """Ask for a run of all that can be made."""
    return run_of(lineage, context, platform.pool)


nightly_checks_schedule = ScheduleDefinition(
    name="nightly_checks_schedule",
    job=nightly_checks,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every night at 03:00 UTC, check every row of every read model.",
)

weekly_clean_up = ScheduleDefinition(
    name="weekly_clean_up",
    job=clean_up,
    cron_schedule="0 4 * * 0",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every Sunday at 04:00 UTC, forget old runs.",
)

weekly_reports = ScheduleDefinition(
    name="weekly_reports",
    job=reports,
    cron_schedule="0 5 * * 0",
    execution_timezone="UTC",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Every Sunday at 05:00 UTC, write the reports.",
)

SCHEDULES = [nightly_lineage, nightly_checks_schedule, weekly_clean_up, weekly_reports]
