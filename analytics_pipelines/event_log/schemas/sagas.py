"""Events that tell how a saga went.

Defines the payload (`data`) of each event type. Only the saga runner writes these.
"""

from __future__ import annotations

from analytics_pipelines.event_log.schemas.payload import Identifier, Payload


class SagaStarted(Payload):
    """A saga began its first step. Stream: `saga-<saga_id>`."""

    saga_id: Identifier
    saga: str


class SagaStepCompleted(SagaStarted):
    """A step took effect. Stream: `saga-<saga_id>`."""

    step: str


class SagaStepFailed(SagaStepCompleted):
    """A step did not take effect, for this reason. Stream: `saga-<saga_id>`."""

    reason: str


class SagaStepCompensated(SagaStepCompleted):
    """The effect of a step was taken back. Stream: `saga-<saga_id>`."""


class SagaCompleted(SagaStarted):
    """All steps took effect. Stream: `saga-<saga_id>`."""


class SagaCompensated(SagaStarted):
    """A step failed for this reason; the effects of those before it were taken back. Stream: `saga-<saga_id>`."""

    reason: str


class SagaSuspended(SagaStarted):
    """A saga cannot go on without a person and waits in the operator's inbox. Stream: `saga-<saga_id>`."""

    reason: str
    step: str | None = None


class SagaResumed(SagaStarted):
    """A person decided how a suspended saga goes on. Stream: `saga-<saga_id>`."""

    decision: str
    step: str | None = None


PAYLOADS: tuple[type[Payload], ...] = (
    SagaStarted,
    SagaStepCompleted,
    SagaStepFailed,
    SagaStepCompensated,
    SagaCompleted,
    SagaCompensated,
    SagaSuspended,
    SagaResumed,
)
