"""Building the lineage from the command line, as a Dagster run in this process.

Defines `build()`: what is stale is made in one run of the job `lineage`, which the UI shows like any other; a bar for
each stage is drawn from the run's own event log.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from analytics_pipelines.automation.selection import kept_back, nodes_of
from analytics_pipelines.automation.unfinished import has_failed, unfinished
from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dagster import AssetKey, DagsterEvent, DagsterInstance, Definitions, JobDefinition
    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.automation.plan import Node
    from analytics_pipelines.progress import Build
    from analytics_pipelines.settings import Settings

    Show = Callable[[str, int, int], None]

POLL_SECONDS = 1.0
# The run's log is kept in Dagster's storage; on the terminal the bars say enough.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class BuildReport:
    """What a build did.

    Attributes:
        made: the assets made now, in the order of the lineage.
        not_made: those that were to be made, and failed or wait for what failed.
        builds: how far every asset has come, by asset key.
        position: the settled position at the end.
        run_id: the Dagster run, if there was one.
        failures: what went wrong: a line for each failed asset and each failed check that blocks.
        retired: the assets that are there to be read, and in the lineage no more.
        ignored: what is in the landing folder and never taken as it is, with the reason.
    """

    made: list[str]
    not_made: list[str] = field(default_factory=list)
    builds: dict[str, Build] = field(default_factory=dict)
    position: int = 0
    run_id: str | None = None
    failures: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)


def build(
    settings: Settings, defs: Definitions, *, everything: bool, show: Show, say: Callable[[str], None]
) -> BuildReport:
    """Make what is stale, or everything, and say how it went.

    Args:
        settings: the settings; the environment of this process is set so that Dagster finds its storage.
        defs: the definitions with the job `lineage`.
        everything: make up-to-date assets again, too.
        show: is told how many of how many assets of a stage are made, as that changes.
        say: is told in words what is waited for.

    Raises:
        PipelinesError: a server cannot be used.
    """
    from dagster import DagsterInstance

    from analytics_pipelines import progress
    from analytics_pipelines.automation import jobs, removal
    from analytics_pipelines.connections import open_pool
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.ingestion import landing
    from analytics_pipelines.local.dagster import dagster_environment, prepare

    nodes = nodes_of(defs.resolve_asset_graph(), jobs.lineage)

    with open_pool(settings) as pool:
        prepare(settings.home)
        os.environ.update(dagster_environment(settings))
        with DagsterInstance.get() as instance:
            _wait_for_others(instance, say)
            report = BuildReport([])
            if chosen := _choose(pool, settings, instance, defs, nodes, everything=everything):
                left_out = kept_back(instance, pool, nodes)
                tried = [name for name in chosen if name not in left_out]
                watch = _Watch(instance, defs, tried, show)
                _run(instance, defs.resolve_job_def("lineage"), watch)
                report.run_id, report.failures = watch.run_id, watch.failures
                report.made = [name for name in tried if watch.has_made(name)]
                report.not_made = [name for name in chosen if name not in report.made]
        with pool.connection() as connection:
            report.builds = progress.builds(connection)
            report.retired = removal.retired(connection, nodes)
        report.position = EventStore(pool).settled_position()
        report.ignored = landing.ignored(settings.landing)
    return report


def _wait_for_others(instance: DagsterInstance, say: Callable[[str], None]) -> None:
    """Wait until no other run builds the lineage: two at once, pinned to two positions, would set tables back."""
    from dagster import DagsterRunStatus, RunsFilter

    from analytics_pipelines.automation.dead_runs import end_dead_runs
    from analytics_pipelines.automation.jobs import WRITES_LINEAGE

    busy = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    said = ""
    while True:
        end_dead_runs(instance)
        runs = instance.get_runs(RunsFilter(tags=WRITES_LINEAGE, statuses=busy), limit=1)
        if not runs:
            return
        if runs[0].run_id != said:
            said = runs[0].run_id
            say(f"waiting for the run {said[:8]}, which builds the lineage just now")
        time.sleep(1)


def _choose(  # noqa: PLR0913 - where to look
    pool: ConnectionPool,
    settings: Settings,
    instance: DagsterInstance,
    defs: Definitions,
    nodes: Mapping[str, Node],
    *,
    everything: bool,
) -> list[str]:
    from dagster import RunsFilter

    from analytics_pipelines import progress
    from analytics_pipelines.automation.plan import SOURCES, News, in_order, stale
    from analytics_pipelines.event_log import EventStore
    from analytics_pipelines.ingestion import demo, landing, outbox

    if everything or not instance.get_runs(RunsFilter(job_name="lineage"), limit=1):
        return in_order(nodes)
    left = unfinished(instance, defs, nodes)
    sources = {name for name in left if name.startswith(SOURCES)}
    sources |= {f"sources/{tenant}" for tenant in (demo.missing(pool) if settings.demo else [])}
    if any(True for _ in landing.waiting(settings.landing)):
        sources.add("sources/landing")
    if settings.outbox_url is not None and outbox.has_news(pool, outbox.configured(settings)):
        sources.add("sources/outbox")
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        news = News(
            frozenset(sources),
            partial(progress.event_types_between, connection, up_to=up_to),
            partial(progress.watermarks_moved_between, connection, up_to=up_to),
            _damaged(pool, settings, connection) | left,
        )
        return stale(nodes, progress.builds(connection), news)


def _damaged(pool: ConnectionPool, settings: Settings, connection: Connection) -> frozenset[str]:
    """Find what is not as it should be: features that Redis lost, a quarantine that has grown, broken marts."""
    from analytics_pipelines import progress
    from analytics_pipelines.connections import open_redis
    from analytics_pipelines.features import FeatureStore

    found: set[str] = set()
    with open_redis(settings) as redis:
        store = FeatureStore(pool, redis)
        rows = connection.execute(
            "select tenant_id, asset_key from progress.builds where asset_key like 'online/%' and tenant_id <> '*'"
        )
        for tenant_id, asset_key in rows.fetchall():
            if store.published_position(tenant_id, asset_key.removeprefix("online/")) is None:
                found.add(asset_key)
    refused = connection.execute(
        "select (select count(*) from event_log.quarantine) is distinct from "
        "(select rows from progress.builds where tenant_id = '*' and asset_key = 'event_log/quarantine')"
    ).fetchone()
    if refused is not None and refused[0]:
        found.add("event_log/quarantine")
    # What is built from such a mart was kept back, and must not be built on it as if nothing was the matter.
    return frozenset(found | progress.broken(connection))


def _run(instance: DagsterInstance, job: JobDefinition, watch: _Watch) -> None:
    """Run the job in a thread, and follow what it writes into Dagster's storage."""
    from analytics_pipelines.automation.dead_runs import BUILD_TAG, HOST_TAG

    failure: list[BaseException] = []
    succeeded: list[bool] = []
    tags = {**job.tags, BUILD_TAG: f"{os.getpid()}-{time.time_ns()}", HOST_TAG: socket.gethostname()}

    def execute() -> None:
        try:
            result = job.execute_in_process(
                instance=instance, asset_selection=watch.selection, raise_on_error=False, tags=tags, run_config=_QUIET
            )
            succeeded.append(result.success)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            failure.append(error)

    # Where a model is not made it says that its check does not hold back what is held back anyway.
    logging.getLogger("dagster").setLevel(logging.ERROR)
    thread = threading.Thread(target=execute, name="lineage", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS)
            watch.look(tags)
        watch.look(tags)  # it may have ended while it was looked at
    except KeyboardInterrupt:
        watch.cancel()
        raise
    if failure:
        raise failure[0]
    if not all(succeeded) and not watch.failures:
        watch.failures.append(f"the run {watch.run_id} ended without success; its log in the UI says why")


class _Watch:
    """Follows a run's event log: which assets are made, and what failed."""

    def __init__(self, instance: DagsterInstance, defs: Definitions, made: list[str], show: Show) -> None:
        graph = defs.resolve_asset_graph()
        keys = {key.to_user_string(): key for key in graph.materializable_asset_keys}
        self.selection: list[AssetKey] = [keys[name] for name in made]
        self.run_id: str | None = None
        self.failures: list[str] = []
        self._instance = instance
        self._stages = {name: graph.get(keys[name]).group_name for name in made}
        self._totals = Counter(self._stages.values())
        self._made: dict[str, set[str]] = {stage: set() for stage in self._totals}
        self._show = show
        self._cursor: str | None = None

    def has_made(self, name: str) -> bool:
        """Tell whether the run has made the asset."""
        return name in self._made[self._stages[name]]

    def look(self, tags: dict[str, str]) -> None:
        """Read what the run with these tags has said since the last look."""
        from dagster import RunsFilter

        if self.run_id is None:
            runs = self._instance.get_runs(RunsFilter(tags=tags), limit=1)
            if not runs:
                return
            self.run_id = runs[0].run_id
        more = True
        while more:
            found = self._instance.get_records_for_run(self.run_id, cursor=self._cursor)
            for record in found.records:
                self._note(record.event_log_entry.dagster_event)
            self._cursor, more = found.cursor, found.has_more
        for stage, total in self._totals.items():
            self._show(stage, len(self._made[stage]), total)

    def cancel(self) -> None:
        """Say in Dagster's storage that the run was interrupted, so that nobody waits for it or tries it again."""
        run = self._instance.get_run_by_id(self.run_id) if self.run_id else None
        if run is not None:
            self._instance.report_run_canceled(run, "interrupted on the command line")

    def _note(self, event: DagsterEvent | None) -> None:
        if event is None:
            return
        if event.is_step_materialization:
            name = event.asset_key.to_user_string() if event.asset_key else ""
            if name in self._stages:
                self._made[self._stages[name]].add(name)
        elif event.is_step_failure:
            error = event.step_failure_data.error
            error = (error.cause or error) if error else None
            lines = error.message.strip().splitlines() if error else []
            if error and error.cls_name == PipelinesError.__name__:  # a line for people, without its class
                lines = [lines[0].partition(": ")[2]]
            self.failures.append(f"{event.step_key}: {lines[0] if lines else 'no reason given'}")
        elif has_failed(event):
            check = event.asset_check_evaluation_data
            reason = check.metadata.get("reason")
            self.failures.append(
                f"{check.asset_key.to_user_string()}: the check {check.check_name} failed"
                + (f": {reason.value}" if reason else "")
            )
