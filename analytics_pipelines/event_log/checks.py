"""Checks of the log.

Defines what must hold of the log itself after every run. What a projection makes of it is checked in its room.
"""

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetKey, asset_check

from analytics_pipelines.resources import Platform


@asset_check(asset=AssetKey(["event_log", "events"]), blocking=True)
def streams_are_gapless(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Within every stream that this run's newest events belong to, versions are 1, 2, 3, without a gap."""
    from analytics_pipelines.event_log import statistics

    with platform.reading(context) as connection:
        broken = statistics.streams_with_gaps(connection)
    return AssetCheckResult(passed=not broken, metadata={"streams": broken[:10]})


CHECKS = [streams_are_gapless]
