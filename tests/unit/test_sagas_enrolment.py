"""The identity of a saga."""

from __future__ import annotations

from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.enrolment import saga_id


def test_a_saga_id_never_changes() -> None:
    """The id is made of the request's identity alone: another release of this code enrols nothing twice."""
    assert saga_id(CAMPAIGN_LAUNCH, "saas", "crm", "request-a") == "d8589341-f3bf-5e9b-940d-3014b09f4a70"
    parts = {saga_id(CAMPAIGN_LAUNCH, *identity) for identity in (("a", "b", "c"), ("a", "bc", ""), ("ab", "c", ""))}
    assert len(parts) == 3
