"""The read models as assets, one for each declaration.

Defines nothing by hand: a model added to `models.py` appears here by itself.
"""

from typing import Any

from dagster import AssetExecutionContext, AssetKey, AssetsDefinition, MaterializeResult, asset

from analytics_pipelines.read_models import sql
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform


def _asset(model: ReadModel) -> AssetsDefinition:
    @asset(
        key=["read_models", model.name],
        deps=[AssetKey(["event_log", "events"])],
        group_name="read_models",
        kinds={"postgres"},
        owners=["team:analytics"],
        code_version=sql.version(model),
        metadata={"pipelines/events": model.events},
        description=f"{model.grain}\n\nFolded from: {', '.join(model.events)}.",
    )
    def read_model(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
        from analytics_pipelines.read_models import projector

        with platform.build(context) as build:
            touched = projector.advance(build.connection, model, build.up_to_position)
            return build.result(touched_keys=touched)

    return read_model


ASSETS = [_asset(model) for model in READ_MODELS]
