"""The read models as assets, one for each declaration.

Defines nothing by hand: a model in `models/` appears here by itself. They are one step, so that those built in one run
advance in one pass over the log.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, AssetKey, AssetSpec, FreshnessPolicy, MaterializeResult, multi_asset

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models import sql
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from analytics_pipelines.read_models.rebuild import Rebuilt

# Built every night, and whenever the log has grown: past this, builds have failed.
FRESH = FreshnessPolicy.time_window(fail_window=timedelta(hours=36), warn_window=timedelta(hours=26))


def asset_key(model: ReadModel) -> AssetKey:
    """Return the key of a model's asset."""
    return AssetKey(["read_models", model.name])


def _spec(model: ReadModel) -> AssetSpec:
    return AssetSpec(
        key=asset_key(model),
        deps=[AssetKey(["event_log", "events"])],
        group_name="read_models",
        kinds={"postgres"},
        owners=["team:analytics"],
        code_version=sql.version(model),
        freshness_policy=FRESH,
        metadata={"pipelines/events": model.events},
        description=f"{model.grain}\n\nFolded from: {', '.join(model.events)}.",
    )


@multi_asset(specs=[_spec(model) for model in READ_MODELS.values()], can_subset=True)
def read_models(context: AssetExecutionContext, platform: Platform) -> Iterator[MaterializeResult[Any]]:
    """Bring the selected read models up to the run's position; those whose declaration changed are rebuilt beside."""
    from analytics_pipelines import progress
    from analytics_pipelines.read_models import projector
    from analytics_pipelines.read_models.rebuild import changed, rebuild_all

    models = [model for model in READ_MODELS.values() if asset_key(model) in context.selected_asset_keys]
    rebuilt: dict[str, Rebuilt] = {}
    failed: dict[str, str] = {}
    if other := changed(platform.pool, models):
        with platform.pool.connection() as connection:  # nobody waits for a rebuild, however long it takes
            projector.advance(connection, models, platform.pin(context))
        rebuilt, failed = rebuild_all(platform.pool, other, platform.pin(context))
    results: list[MaterializeResult[Any]] = []
    with platform.build_together(context, context.selected_asset_keys) as builds:
        one = next(iter(builds.values()))
        advanced = projector.advance(one.connection, models, one.up_to_position)
        for model in models:
            if model.name in failed:  # it was advanced, and is still out of date
                continue
            done = advanced[model.name]
            events, seconds = progress.lag(one.connection, done.up_to)
            result = builds[asset_key(model)].result(
                seconds=done.seconds + (rebuilt[model.name].seconds if model.name in rebuilt else 0),
                version=done.version,
                replaced_version=(rebuilt[model.name].former or "") if model.name in rebuilt else "",
                is_held=done.version != sql.version(model),
                touched_keys=done.touched,
                from_position=done.after,
                events_per_second=round((done.up_to - done.after) / done.seconds) if done.seconds else 0,
                lag_events=events,
                lag_seconds=round(seconds, 3),
            )
            results.append(result)
    yield from results
    if failed:
        raise PipelinesError("; ".join(failed.values()))


ASSETS = [read_models]
