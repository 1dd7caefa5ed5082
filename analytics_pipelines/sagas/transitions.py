"""What comes next in a saga: a pure function of what is written down about it.

Defines `next_transition()`. Whatever was killed where, the rows in `sagas` alone decide how it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_pipelines.sagas.saga import Action, Saga, Step

ENDED = frozenset({"completed", "compensated", "inbox"})


@dataclass(frozen=True, slots=True)
class Start:
    """Begin the saga."""


@dataclass(frozen=True, slots=True)
class Act:
    """Run the action of a step."""

    step: Step


@dataclass(frozen=True, slots=True)
class Compensate:
    """Run the compensation of a completed step."""

    step: Step
    compensation: Action


@dataclass(frozen=True, slots=True)
class End:
    """Write down that nothing is left to do."""

    status: str


Transition = Start | Act | Compensate | End


def next_transition(saga: Saga, status: str, steps: Mapping[tuple[str, str], str]) -> Transition | None:
    """Return what to do next, or None when the saga has ended.

    Args:
        saga: the declaration.
        status: the execution's status.
        steps: the status of each step begun, by step and kind.
    """
    if status in ENDED:
        return None
    if status == "pending":
        return Start()
    if status == "running":
        for step in saga.steps:
            if steps.get((step.name, "action")) != "completed":
                return Act(step)
        return End("completed")
    for step in reversed(saga.steps):
        is_done = steps.get((step.name, "action")) == "completed"
        if is_done and step.compensation is not None and steps.get((step.name, "compensation")) != "completed":
            return Compensate(step, step.compensation)
    return End("compensated")
