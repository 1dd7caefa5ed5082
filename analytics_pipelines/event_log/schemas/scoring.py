"""Events of models that score: what was trained, what is in use, what was predicted.

Defines the payload (`data`) of each event type. Add a type here when its aggregate is a model.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import Identifier, Payload, SignedNumber, WholeNumber


class ModelTrained(Payload):
    """A version of a model was trained and kept. Stream: `model-<model_id>`."""

    model_id: Identifier
    model_version: Annotated[WholeNumber, Field(ge=1)]
    rows: WholeNumber
    metrics: dict[str, SignedNumber]


class ModelStageChanged(Payload):
    """A version of a model was put into another stage. Stream: `model-<model_id>`."""

    model_id: Identifier
    model_version: Annotated[WholeNumber, Field(ge=1)]
    stage: Annotated[str, Field(pattern="^(staging|production|archived)$")]


class PredictionMade(Payload):
    """A model scored an entity ("lead", "42"). Stream: `<entity>-<entity_id>`."""

    prediction_id: Identifier
    model_id: Identifier
    model_version: Annotated[WholeNumber, Field(ge=1)]
    entity: Annotated[str, Field(pattern="^[a-z][a-z_]{0,39}$")]
    entity_id: Identifier
    prediction: SignedNumber


PAYLOADS: tuple[type[Payload], ...] = (ModelTrained, ModelStageChanged, PredictionMade)
