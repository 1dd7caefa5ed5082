"""Saga checks.

Defines what must hold between `sagas.executions` and the log.
"""

from dagster import AssetCheckResult, AssetCheckSeverity, MetadataValue, asset_check

from analytics_pipelines.resources import Platform

SHOWN = 10


@asset_check(asset=["sagas", "executions"])
def ended_sagas_say_so_in_the_log(platform: Platform) -> AssetCheckResult:
    """Compare each saga that ended, also in the inbox, with its stream, which must end with the event that says so."""
    from analytics_pipelines.sagas.executions import without_last_event

    with platform.pool.connection() as connection:
        found = without_last_event(connection)
    return AssetCheckResult(
        passed=not found,
        metadata={"sagas": len(found), "examples": MetadataValue.json([list(row) for row in found[:SHOWN]])},
    )


@asset_check(asset=["read_models", "saga_state"])
def agrees_with_executions(platform: Platform) -> AssetCheckResult:
    """Compare where the log says that each saga stands with `sagas.executions`, which rules."""
    from analytics_pipelines.sagas.executions import differing_from_the_read_model

    with platform.pool.connection() as connection:
        found = differing_from_the_read_model(connection)
    return AssetCheckResult(
        passed=not found,
        metadata={"sagas": len(found), "examples": MetadataValue.json([list(row) for row in found[:SHOWN]])},
    )


@asset_check(asset=["sagas", "executions"])
def inbox_is_empty(platform: Platform) -> AssetCheckResult:
    """Warn when a saga waits for an operator."""
    from analytics_pipelines.sagas.executions import count_by_status

    with platform.pool.connection() as connection:
        waiting = count_by_status(connection).get("inbox", 0)
    return AssetCheckResult(passed=waiting == 0, severity=AssetCheckSeverity.WARN, metadata={"sagas": waiting})


CHECKS = [ended_sagas_say_so_in_the_log, agrees_with_executions, inbox_is_empty]
