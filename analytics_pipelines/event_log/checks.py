"""Checks of the log.

Defines what must hold of the log itself after every run. What a projection makes of it is checked in its room.
"""

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, AssetKey, asset_check

from analytics_pipelines.resources import Platform


@asset_check(asset=AssetKey(["event_log", "events"]), blocking=True)
def streams_are_gapless(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Each of the newest thousand events has the version after the one before it in its stream."""
    from analytics_pipelines.event_log import statistics

    with platform.reading(context) as connection:
        broken = statistics.streams_with_gaps(connection)
    return AssetCheckResult(passed=not broken, metadata={"streams": broken[:10]})


@asset_check(asset=AssetKey(["event_log", "events"]))
def no_writer_holds_the_cursor_back(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """No transaction that appends has been open for more than a minute: nothing after it can be read."""
    from analytics_pipelines.event_log import statistics

    with platform.reading(context) as connection:
        slow = [
            writer for writer in statistics.open_writers(connection) if (writer.seconds or 0) > statistics.SLOW_SECONDS
        ]
    return AssetCheckResult(
        passed=not slow, severity=AssetCheckSeverity.WARN, metadata={"writers": [str(writer) for writer in slow]}
    )


CHECKS = [streams_are_gapless, no_writer_holds_the_cursor_back]
