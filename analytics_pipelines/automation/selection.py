"""What of a job a run is to make: all but what derives from a read model that will fail.

Defines `nodes_of()`, the assets of a job, `kept_back()`, those of them that cannot be made, and `run_of()`, which asks
for a run of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetCheckKey, AssetKey, RunRequest

from analytics_pipelines.automation.plan import Node, descendants
from analytics_pipelines.automation.unfinished import has_failed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from dagster import DagsterEvent, DagsterInstance, ScheduleEvaluationContext, SensorEvaluationContext
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
    from psycopg_pool import ConnectionPool

EVENTS_METADATA = "pipelines/events"


def nodes_of(graph: AssetGraph, job: UnresolvedAssetJobDefinition) -> dict[str, Node]:
    """Return the assets that a job may make, by asset key."""
    nodes: dict[str, Node] = {}
    for key in job.selection.resolve(graph) & graph.materializable_asset_keys:
        asset = graph.get(key)
        parents = frozenset(parent.to_user_string() for parent in asset.parent_keys)
        events: Iterable[str] = asset.metadata.get(EVENTS_METADATA, ())
        nodes[key.to_user_string()] = Node(asset.code_version or "", parents, frozenset(events))
    return nodes


def kept_back(instance: DagsterInstance, pool: ConnectionPool, nodes: Mapping[str, Node]) -> set[str]:
    """Find what derives from a read model that will fail, among these assets.

    It is to be left out of a run: all of dbt's models are one step, which Dagster would keep back as a whole.

    Args:
        instance: Dagster's storage.
        pool: sessions.
        nodes: the assets, by asset key.
    """
    return descendants(nodes, unfoldable(instance, pool, nodes))


def run_of(
    job: UnresolvedAssetJobDefinition,
    context: SensorEvaluationContext | ScheduleEvaluationContext,
    pool: ConnectionPool,
    tags: Mapping[str, str] | None = None,
) -> RunRequest:
    """Ask for a run of a job without what is kept back; how much that is stands in the tag `pipelines/kept_back`.

    Args:
        job: the job.
        context: of the sensor or schedule.
        pool: sessions.
        tags: further tags of the run.
    """
    repository = context.repository_def
    assert repository is not None
    graph = repository.asset_graph
    nodes = nodes_of(graph, job)
    left_out = kept_back(context.instance, pool, nodes)
    if not left_out:
        return RunRequest(tags=tags)
    keys = {AssetKey.from_user_string(name) for name in nodes.keys() - left_out}
    return RunRequest(
        tags={**(tags or {}), "pipelines/kept_back": str(len(left_out))},
        asset_selection=sorted(keys),
        # Of assets that are named Dagster would take all checks, also those that the job leaves out.
        asset_check_keys=sorted(key for key in job.selection.resolve_checks(graph) if key.asset_key in keys),
    )


def unfoldable(instance: DagsterInstance, pool: ConnectionPool, names: Collection[str]) -> list[str]:
    """Find the read models that will fail: Postgres does not understand them, or the last run could not fold them.

    Args:
        instance: Dagster's storage.
        pool: sessions.
        names: the keys of the assets to look at.
    """
    from analytics_pipelines.errors import PipelinesError
    from analytics_pipelines.read_models import projector, sql, versions
    from analytics_pipelines.read_models.assets import CAN_BE_FOLDED, asset_key
    from analytics_pipelines.read_models.models import READ_MODELS

    models = [model for model in READ_MODELS.values() if asset_key(model).to_user_string() in names]
    keys = {model.name: AssetCheckKey(asset_key(model), CAN_BE_FOLDED) for model in models}
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys.values()))
    found: list[str] = []
    for model in models:
        check = checks.get(keys[model.name])
        event = check.event.dagster_event if check is not None and check.event else None
        failed = event is not None and has_failed(event) and _version(event) == sql.version(model)
        with pool.connection() as connection:
            try:
                if not failed and not versions.exists(connection, versions.declared(model)):
                    projector.require_sound(connection, model)
            except PipelinesError:
                failed = True
        if failed:
            found.append(asset_key(model).to_user_string())
    return found


def _version(event: DagsterEvent) -> object:
    version = event.asset_check_evaluation_data.metadata.get("version")
    return version.value if version is not None else None
