"""How a saga is declared.

Defines `Saga`, `Step` and what passes between a step and the runner. Nothing here touches a database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection


class StepFailedError(Exception):
    """The step cannot take effect, now or later: the saga takes back what came before.

    The text is the reason, as the operator reads it. Any other exception is a fault that passes: the step is tried
    again.
    """


@dataclass(frozen=True, slots=True)
class Effect:
    """An event that a step appends to the log. It commits with the step, so it happens once."""

    stream_id: str
    event_type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step did.

    Attributes:
        result: a JSON object for the steps after it and for the operator; no decimals.
        effects: what it appends to the log.
    """

    result: Mapping[str, Any] = field(default_factory=dict[str, Any])
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may know.

    Attributes:
        connection: the session whose transaction commits the step; for reading, and for rows that belong to the step.
        tenant_id: whose saga.
        saga_id: which saga.
        request: the payload of the request; numbers with a fraction are `Decimal`.
        requested_at: event time of the request (UTC).
        results: the results of the actions completed so far, by step.
        idempotency_key: the same whenever this step is tried; hand it to a service that takes one.
    """

    connection: Connection
    tenant_id: str
    saga_id: str
    request: Mapping[str, Any]
    requested_at: datetime
    results: Mapping[str, Mapping[str, Any]]
    idempotency_key: str


Action = Callable[[StepContext], Outcome]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga.

    Attributes:
        name: unique within the saga.
        action: does it.
        compensation: takes it back; None where there is nothing to take back.
        repeatable: whether action and compensation may run again when a kill left it open if they took effect: true of
            appends to the log and of services that take an idempotency key. Otherwise the saga goes to the inbox.
    """

    name: str
    action: Action
    compensation: Action | None = None
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Saga:
    """Steps that take effect all together, or are taken back in reverse order.

    Attributes:
        name: the saga's name.
        steps: in order; at least one.
        request_event: the type of the event that asks for it.
        reads: keys of the assets that its steps read; it waits until they are built up to the request.
    """

    name: str
    steps: tuple[Step, ...]
    request_event: str
    reads: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a declaration that could not be run.

        Raises:
            ValueError: there is no step, or two have the same name.
        """
        names = [step.name for step in self.steps]
        if not names or len(names) != len(set(names)):
            raise ValueError(f"saga {self.name} needs steps with names of their own, got {names}")
