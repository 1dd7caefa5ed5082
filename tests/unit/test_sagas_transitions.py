"""What comes next in a saga, and how one is declared: decided without a server."""

from __future__ import annotations

import pytest

from analytics_pipelines.sagas import Outcome, Saga, Step, StepContext
from analytics_pipelines.sagas.transitions import Act, Compensate, End, Start, next_transition


def _nothing(context: StepContext) -> Outcome:
    del context
    return Outcome()


FIRST = Step("first", _nothing, compensation=_nothing)
SECOND = Step("second", _nothing)
THIRD = Step("third", _nothing, compensation=_nothing)
SAGA = Saga("trip", (FIRST, SECOND, THIRD), request_event="trip_requested")

DONE = {("first", "action"): "completed", ("second", "action"): "completed"}


@pytest.mark.parametrize(
    ("status", "steps", "expected"),
    [
        ("pending", {}, Start()),
        ("running", {}, Act(FIRST)),
        ("running", {("first", "action"): "running"}, Act(FIRST)),
        ("running", {("first", "action"): "completed"}, Act(SECOND)),
        ("running", DONE, Act(THIRD)),
        ("running", {**DONE, ("third", "action"): "completed"}, End("completed")),
        ("compensating", {**DONE, ("third", "action"): "failed"}, Compensate(FIRST, _nothing)),
        ("compensating", {**DONE, ("third", "action"): "completed"}, Compensate(THIRD, _nothing)),
        ("compensating", {**DONE, ("first", "compensation"): "running"}, Compensate(FIRST, _nothing)),
        ("compensating", {**DONE, ("first", "compensation"): "completed"}, End("compensated")),
        ("compensating", {("first", "action"): "failed"}, End("compensated")),
        ("completed", DONE, None),
        ("compensated", DONE, None),
        ("inbox", DONE, None),
    ],
)
def test_the_rows_alone_decide_what_comes_next(
    status: str, steps: dict[tuple[str, str], str], expected: Start | Act | Compensate | End | None
) -> None:
    """Steps go forward in order, compensations backward over what completed and can be taken back; ends are final."""
    assert next_transition(SAGA, status, steps) == expected


@pytest.mark.parametrize("steps", [(), (FIRST, Step("first", _nothing))])
def test_a_saga_without_distinct_steps_is_refused(steps: tuple[Step, ...]) -> None:
    """Two steps of one name would share a row and an event identity."""
    with pytest.raises(ValueError, match="names of their own"):
        Saga("trip", steps, request_event="trip_requested")
