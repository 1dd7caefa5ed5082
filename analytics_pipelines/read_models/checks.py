"""Checks of the read models, the same for each.

Defines that the live rows equal a replay from zero. A run replays a sixteenth of the keys, another
one each time the log has grown.
"""

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetChecksDefinition, AssetKey, asset_check

from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform

SLICES = 16


def _equals_replay(model: ReadModel) -> AssetChecksDefinition:
    @asset_check(
        asset=AssetKey(["read_models", model.name]),
        name="live_equals_replay",
        blocking=True,
        description=f"A {SLICES}th of the keys, replayed from zero, gives the very rows that are live.",
    )
    def live_equals_replay(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
        from analytics_pipelines.read_models import projector

        part = platform.pin(context) % SLICES
        with platform.reading(context) as connection:
            compared, differing = projector.differences(connection, model, slices=SLICES, part=part)
        return AssetCheckResult(passed=not differing, metadata={"keys_compared": compared, "differing": differing})

    return live_equals_replay


CHECKS = [_equals_replay(model) for model in READ_MODELS.values()]
