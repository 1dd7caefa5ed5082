"""Events that tell how a saga went.

Defines the payload (`data`) of each event type, version 1. Only the saga runner writes these. Stream: `saga-<saga_id>`.
"""

from __future__ import annotations

from analytics_pipelines.event_log.schemas.payload import Identifier, Payload


class SagaStarted(Payload):
    """A saga began its first step."""

    saga_id: Identifier
    saga: str


class SagaStepCompleted(SagaStarted):
    """A step took effect."""

    step: str


class SagaStepFailed(SagaStepCompleted):
    """A step did not take effect, for this reason."""

    reason: str


class SagaStepCompensated(SagaStepCompleted):
    """The effect of a step was taken back."""


class SagaCompleted(SagaStarted):
    """All steps took effect."""


class SagaCompensated(SagaStarted):
    """A step failed for this reason, and the effects of the steps before it were taken back."""

    reason: str
