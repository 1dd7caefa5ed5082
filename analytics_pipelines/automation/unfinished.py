"""What runs have left undone, as Dagster's storage tells: the next build goes on there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetKey, RunsFilter

if TYPE_CHECKING:
    from collections.abc import Collection

    from dagster import DagsterEvent, DagsterInstance, Definitions


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


def has_failed(event: DagsterEvent) -> bool:
    """Tell whether the event is that a check failed, and not with a mere warning."""
    if event.event_type_value != "ASSET_CHECK_EVALUATION":
        return False
    check = event.asset_check_evaluation_data
    return not check.passed and check.severity.value == "ERROR"
