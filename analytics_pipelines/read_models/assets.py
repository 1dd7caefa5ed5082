"""The read models as assets, one for each declaration.

Defines nothing by hand: a model in `models/` appears here by itself. They are one step, so that those built in one run
advance in one pass over the log.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    FreshnessPolicy,
    MaterializeResult,
    multi_asset,
)

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


CAN_BE_FOLDED = "can_be_folded"
_WORDS = (
    "Postgres understands the declaration, and every event up to the run's position could be folded by it. Where not, "
    "the model stays as it was, and all other read models go on. What derives from it waits; in the run that finds it "
    "out all of dbt's models do, which are one step, if one of them reads it."
)


@multi_asset(
    specs=[_spec(model) for model in READ_MODELS.values()],
    check_specs=[
        # Not as a blocking one: for that Dagster fails the step, and all other models with it.
        AssetCheckSpec(CAN_BE_FOLDED, asset=asset_key(model), description=_WORDS)
        for model in READ_MODELS.values()
    ],
    can_subset=True,  # so that what cannot be folded may be left out, and its descendants wait
)
def read_models(
    context: AssetExecutionContext, platform: Platform
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Bring the selected read models up to the run's position; those whose declaration changed are rebuilt beside."""
    models = [model for model in READ_MODELS.values() if asset_key(model) in context.selected_asset_keys]
    failed: dict[str, str] = {}
    if models:
        yield from _advance(context, platform, models, failed)
    for model in READ_MODELS.values():
        if AssetCheckKey(asset_key(model), CAN_BE_FOLDED) in context.selected_asset_check_keys:
            reason = failed.pop(model.name, "") if model in models else _misunderstood(platform, model)
            facts = {"reason": reason, "version": sql.version(model)} if reason else {}
            yield AssetCheckResult(
                passed=not reason, asset_key=asset_key(model), check_name=CAN_BE_FOLDED, metadata=facts
            )
    if failed:  # nobody asked for the check that would have told
        raise PipelinesError("; ".join(failed.values()))


def _misunderstood(platform: Platform, model: ReadModel) -> str:
    """Say what is wrong with a declaration where it is not folded, but only asked about."""
    from analytics_pipelines.read_models import projector

    try:
        with platform.pool.connection() as connection:
            projector.require_sound(connection, model)
    except PipelinesError as error:
        return str(error)
    return ""


def _advance(
    context: AssetExecutionContext, platform: Platform, models: list[ReadModel], failed: dict[str, str]
) -> list[MaterializeResult[Any]]:
    """Advance or rebuild the models; return what became of each but the failed ones, of which it is said why."""
    from analytics_pipelines import progress
    from analytics_pipelines.read_models import projector
    from analytics_pipelines.read_models.rebuild import changed, rebuild_all

    rebuilt: dict[str, Rebuilt] = {}
    if other := changed(platform.pool, models):
        with platform.pool.connection() as connection:  # nobody waits for a rebuild, however long it takes
            projector.advance(connection, models, platform.pin(context), failed={})  # the advance below tells
        rebuilt, not_rebuilt = rebuild_all(platform.pool, other, platform.pin(context))
        failed |= not_rebuilt
    results: list[MaterializeResult[Any]] = []
    with platform.build_together(context, context.selected_asset_keys) as builds:
        one = next(iter(builds.values()))
        advanced = projector.advance(one.connection, models, one.up_to_position, failed)
        for model in models:
            if model.name in failed:  # or it was advanced, and is still out of date
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
    return results


ASSETS = [read_models]
