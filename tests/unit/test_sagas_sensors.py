"""How the saga sensor numbers its attempts."""

from __future__ import annotations

import pytest
from dagster import DagsterRun, DagsterRunStatus

from analytics_pipelines.sagas.sensors import next_attempt


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], 1),
        ([DagsterRunStatus.FAILURE], 2),
        ([DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED, DagsterRunStatus.SUCCESS], 4),
        ([DagsterRunStatus.NOT_STARTED], None),
        ([DagsterRunStatus.FAILURE, DagsterRunStatus.STARTED], None),
    ],
)
def test_a_new_attempt_comes_only_after_the_former_has_ended(
    statuses: list[DagsterRunStatus], expected: int | None
) -> None:
    """A saga has at most one run at a time, and no attempt uses the run key of another."""
    assert next_attempt([DagsterRun(job_name="campaign_launch", status=status) for status in statuses]) == expected
