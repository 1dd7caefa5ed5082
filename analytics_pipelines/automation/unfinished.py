"""What runs have left undone, as Dagster's storage tells: the next build goes on there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetCheckKey, AssetKey, RunsFilter

if TYPE_CHECKING:
    from collections.abc import Collection

    from dagster import DagsterEvent, DagsterInstance, Definitions
    from psycopg_pool import ConnectionPool


def unfinished(instance: DagsterInstance, defs: Definitions, names: Collection[str]) -> frozenset[str]:
    """Find what a run set out to make or check, and did not, and what a check has found wrong, a warning apart.

    What derives from these was kept back, and is to be made with them. Of runs that are going on nothing is said.

    Args:
        instance: Dagster's storage.
        defs: the definitions.
        names: the keys of the assets to look at.
    """
    assets = [
        record.asset_entry for record in instance.get_asset_records([AssetKey.from_user_string(n) for n in names])
    ]
    keys = [key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key.to_user_string() in names]
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    planned: list[tuple[AssetKey, str]] = []
    for asset in assets:
        made = asset.last_materialization
        if asset.last_run_id is not None and asset.last_run_id != (made.run_id if made else None):
            planned.append((asset.asset_key, asset.last_run_id))
    planned += [(key.asset_key, check.run_id) for key, check in checks.items() if check.status.value == "PLANNED"]
    runs = instance.get_runs(RunsFilter(run_ids=[run_id for _, run_id in planned])) if planned else []
    going_on = {run.run_id for run in runs if not run.is_finished}
    found = [key for key, run_id in planned if run_id not in going_on]
    for key, check in checks.items():
        event = check.event.dagster_event if check.event else None
        if event is not None and has_failed(event):
            found.append(key.asset_key)
    return frozenset(key.to_user_string() for key in found)


def unfoldable(instance: DagsterInstance, pool: ConnectionPool, names: Collection[str]) -> list[str]:
    """Find the read models that will fail: Postgres does not understand them, or the last run could not fold them.

    What derives from one is to be left out of a run: all of dbt's models are one step, which Dagster would keep back
    as a whole.

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


def has_failed(event: DagsterEvent) -> bool:
    """Tell whether the event is that a check failed, and not with a mere warning."""
    if event.event_type_value != "ASSET_CHECK_EVALUATION":
        return False
    check = event.asset_check_evaluation_data
    return not check.passed and check.severity.value == "ERROR"
