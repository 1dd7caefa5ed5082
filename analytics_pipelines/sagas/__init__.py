"""Sagas: requests answered in steps, each of which can be taken back.

Public: `Saga`, `Step` and what their actions use. A saga is declared in a module of its own, listed in `catalog.py`;
`enrolment.py` turns requests in the log into executions, `runner.py` carries them to an end.
"""

from __future__ import annotations

from analytics_pipelines.sagas.saga import Effect, Outcome, Saga, Step, StepContext, StepFailedError

__all__ = ["Effect", "Outcome", "Saga", "Step", "StepContext", "StepFailedError"]
