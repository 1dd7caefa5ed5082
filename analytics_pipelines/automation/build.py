"""Building the lineage from the command line, as a Dagster run in this process.

Defines `build()`: what is stale is made in one run of the job `lineage`, which the UI shows like any other; a bar for
each stage is drawn from the run's own event log.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dagster import AssetKey, DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.progress import Build
    from analytics_pipelines.settings import Settings

POLL_SECONDS = 0.3
# The run's log is kept in Dagster's storage; on the terminal the bars say enough.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class BuildReport:
    """What a build did.

    Attributes:
        made: the assets made now, in the order of the lineage.
        builds: how far every asset has come, by asset key.
        run_id: the Dagster run, if there was one.
        failures: what went wrong: a line for each failed asset and each failed check that blocks.
    """

    made: list[str]
    builds: dict[str, Build]
    run_id: str | None = None
    failures: list[str] = field(default_factory=list)


def build(settings: Settings, *, everything: bool, show: Callable[[str, int, int], None]) -> BuildReport:
    """Make what is stale, or everything, and say how it went.

    Args:
        settings: the settings; the environment of this process is set so that Dagster finds its storage.
        everything: make up-to-date assets again, too.
        show: is told how many of how many assets of a stage are made, as that changes.

    Raises:
        PipelinesError: a server cannot be used.
    """
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.local.dagster import dagster_environment, prepare

    with open_pool(settings) as pool:
        prepare(settings.home)
        os.environ.update(dagster_environment(settings))
        from dagster import DagsterInstance

        from analytics_pipelines.definitions import defs

        with DagsterInstance.get() as instance:
            graph = defs.resolve_asset_graph()
            keys = {key.to_user_string(): key for key in graph.materializable_asset_keys}
            stages = {name: graph.get(key).group_name for name, key in keys.items()}
            chosen = _choose(pool, settings, instance, keys, everything=everything)
            report = BuildReport(chosen, {})
            if chosen:
                report.run_id, report.failures = _run(instance, [keys[name] for name in chosen], stages, show)
        from analytics_pipelines import progress

        with pool.connection() as connection:
            report.builds = progress.builds(connection)
    return report


def _choose(
    pool: ConnectionPool, settings: Settings, instance: DagsterInstance, keys: dict[str, AssetKey], *, everything: bool
) -> list[str]:
    from dagster import DagsterRunStatus, RunsFilter

    from analytics_pipelines import progress
    from analytics_pipelines.automation.plan import Node, in_order, stale
    from analytics_pipelines.definitions import defs
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.ingestion import demo, landing

    graph = defs.resolve_asset_graph()
    nodes = {
        name: Node(
            graph.get(key).code_version or "", frozenset(parent.to_user_string() for parent in graph.get(key).parent_keys)
        )
        for name, key in keys.items()
    }
    last = instance.get_runs(RunsFilter(job_name="lineage"), limit=1)
    # A check that failed holds its asset's descendants back; only a new run of everything can clear that.
    if everything or not last or last[0].status != DagsterRunStatus.SUCCESS:
        return in_order(nodes)
    missing = demo.missing(pool) if settings.demo else []
    sources = {name: name.removeprefix("sources/") in missing for name in nodes if name.startswith("sources/")}
    sources["sources/landing"] = any(True for _ in landing.waiting(settings.landing))
    with pool.connection() as connection:
        builds = progress.builds(connection)
    return stale(nodes, builds, EventStore(pool).settled_position(), sources)


def _run(
    instance: DagsterInstance, selection: list[AssetKey], stages: dict[str, str], show: Callable[[str, int, int], None]
) -> tuple[str, list[str]]:
    from dagster import DagsterRun

    from analytics_pipelines.definitions import defs

    job = defs.resolve_job_def("lineage")
    outcome: list[BaseException | None] = []

    def execute() -> None:
        try:
            job.execute_in_process(
                instance=instance, asset_selection=selection, raise_on_error=False, tags=dict(job.tags), run_config=_QUIET
            )
            outcome.append(None)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            outcome.append(error)

    before = {run.run_id for run in instance.get_runs(limit=10)}
    thread = threading.Thread(target=execute, name="lineage", daemon=True)
    thread.start()
    watch = _Watch(instance, stages, [key.to_user_string() for key in selection], show)
    run: DagsterRun | None = None
    while thread.is_alive():
        time.sleep(POLL_SECONDS)
        if run is None:
            run = next((found for found in instance.get_runs(limit=10) if found.run_id not in before), None)
        if run is not None:
            watch.look(run.run_id)
    thread.join()
    if outcome[0] is not None:
        raise outcome[0]
    if run is None:
        raise PipelinesError("the run left no trace in Dagster's storage; run `pipelines --debug build`")
    watch.look(run.run_id)
    return run.run_id, watch.failures


class _Watch:
    """Follows a run's event log: which assets are made, and what failed."""

    def __init__(
        self, instance: DagsterInstance, stages: dict[str, str], selection: list[str], show: Callable[[str, int, int], None]
    ) -> None:
        self._instance = instance
        self._stages = stages
        self._totals = Counter(stages[name] for name in selection)
        self._show = show
        self._cursor: str | None = None
        self._made: dict[str, set[str]] = {stage: set() for stage in self._totals}
        self.failures: list[str] = []

    def look(self, run_id: str) -> None:
        """Read what the run has said since the last look."""
        while True:
            connection = self._instance.get_records_for_run(run_id, cursor=self._cursor)
            for record in connection.records:
                self._note(record.event_log_entry)
            self._cursor = connection.cursor
            if not connection.has_more:
                break
        for stage, total in self._totals.items():
            self._show(stage, len(self._made[stage]), total)

    def _note(self, entry: object) -> None:
        event = getattr(entry, "dagster_event", None)
        if event is None:
            return
        if event.is_step_materialization and event.asset_key is not None:
            name = event.asset_key.to_user_string()
            if self._stages.get(name) in self._made:
                self._made[self._stages[name]].add(name)
        elif event.is_step_failure:
            error = event.step_failure_data.error
            cause = (error.cause or error) if error else None
            reason = cause.message.strip().splitlines()[0] if cause else "no reason given"
            self.failures.append(f"{event.step_key}: {reason}")
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed and check.severity.value == "ERROR":
                self.failures.append(f"{check.asset_key.to_user_string()}: the check {check.check_name} failed")
