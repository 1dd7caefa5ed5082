"""Jobs that cross rooms.

Defines `lineage` (everything), `landing` and `outbox` (what newly landed files or rows change, without the dbt tests
that read whole tables: those run with the lineage every night), `advance` (read models, when the log has grown),
`nightly_checks` (what a run only checks as far as it touched it), `reports` (about the warehouse) and `clean_up`
(forgetting old runs). A job of one room belongs into that room.
"""

from datetime import UTC, datetime, timedelta

from dagster import (
    MAX_RUNTIME_SECONDS_TAG,
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    OpExecutionContext,
    RunsFilter,
    define_asset_job,
    in_process_executor,
    job,
    op,
)

from analytics_pipelines.read_models.checks import CHECKS as READ_MODEL_CHECKS
from analytics_pipelines.read_models.checks import CHECKS_EVERYTHING
from analytics_pipelines.warehouse.assets import MODELS

KEPT_DAYS = 30
WRITES_LINEAGE = {"pipelines/writes": "lineage"}
"""The tag of runs that build tables; `dagster.yaml` lets one of them run at a time."""

# In-process: 30 light assets take 8 s in one process and 224 s with an interpreter for each.
_REPORTS = AssetSelection.groups("reports")
_NIGHTLY = AssetSelection.checks(
    *(AssetCheckKey(AssetKey(model.key), test.name) for model in MODELS for test in model.tests if test.is_nightly)
)

lineage = define_asset_job(
    "lineage",
    selection=AssetSelection.all() - _REPORTS,
    description="Ingest what waits and build everything to one position of the log.",
    executor_def=in_process_executor,
    tags={**WRITES_LINEAGE, MAX_RUNTIME_SECONDS_TAG: "3600"},
)

landing = define_asset_job(
    "landing",
    selection=AssetSelection.assets(AssetKey(["sources", "landing"])).downstream() - _REPORTS - _NIGHTLY,
    description="Ingest the files in the landing folder and build everything that derives from them.",
    executor_def=in_process_executor,
    tags={**WRITES_LINEAGE, MAX_RUNTIME_SECONDS_TAG: "3600"},
)

outbox = define_asset_job(
    "outbox",
    selection=AssetSelection.assets(AssetKey(["sources", "outbox"])).downstream() - _REPORTS - _NIGHTLY,
    description="Ingest what is new in the outbox and build everything that derives from it.",
    executor_def=in_process_executor,
    tags={**WRITES_LINEAGE, MAX_RUNTIME_SECONDS_TAG: "3600"},
)

advance = define_asset_job(
    "advance",
    selection=AssetSelection.groups("read_models"),
    description="Bring read models up to the end of the log.",
    executor_def=in_process_executor,
    tags={**WRITES_LINEAGE, MAX_RUNTIME_SECONDS_TAG: "3600"},
)

nightly_checks = define_asset_job(
    "nightly_checks",
    selection=AssetSelection.checks(*(spec.key for check in READ_MODEL_CHECKS for spec in check.check_specs)),
    description="Compare every row of every read model with a replay of the log.",
    executor_def=in_process_executor,
    tags={**CHECKS_EVERYTHING, MAX_RUNTIME_SECONDS_TAG: "7200"},
)


reports = define_asset_job(
    "reports",
    selection=_REPORTS,
    description="Write the documentation of the warehouse, and what the database says of its own work.",
    executor_def=in_process_executor,
    tags={MAX_RUNTIME_SECONDS_TAG: "3600"},
)


@op(description=f"Remove runs, with their event logs, that ended more than {KEPT_DAYS} days ago.")
def remove_old_runs(context: OpExecutionContext) -> int:
    """Remove old runs, and return how many there were."""
    before = datetime.now(UTC) - timedelta(days=KEPT_DAYS)
    removed = 0
    while runs := context.instance.get_runs(RunsFilter(updated_before=before), limit=100):
        for run in runs:
            context.instance.delete_run(run.run_id)
            removed += 1
    context.log.info("removed %d runs that ended before %s", removed, before.isoformat())
    return removed


@job(
    description="Keep Dagster's own storage from growing without end.",
    executor_def=in_process_executor,
    tags={MAX_RUNTIME_SECONDS_TAG: "3600"},
)
def clean_up() -> None:
    """Remove old runs."""
    remove_old_runs()


JOBS = [lineage, landing, advance, nightly_checks, reports, clean_up]
OUTBOX_JOBS = [outbox]
"""Only where an outbox is configured."""
