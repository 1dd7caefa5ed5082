"""Older versions of a payload are read as the newest, and nothing is lost on the way."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.event_log.schemas.json_schema import json_schema
from analytics_pipelines.event_log.upcasting import UPCASTERS, require_every_step, upcast

if TYPE_CHECKING:
    from collections.abc import Callable

EVENLY = {"experiment_id": "e", "name": "n", "variants": ["a", "b"], "ours": 1}


@given(data=st.data())
def test_every_valid_payload_of_an_older_version_is_valid_in_the_newest(
    payloads: Callable[[dict[str, Any]], st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    """Each step makes a valid payload of the next version, always the same one, and leaves its input alone."""
    event_type, version = data.draw(st.sampled_from(sorted(UPCASTERS)))
    payload = data.draw(payloads(json_schema(event_type, version)))
    before = copy.deepcopy(payload)
    newest, raised = upcast(event_type, version, payload)
    SCHEMAS[event_type, newest].model_validate_json(json.dumps(raised), strict=True)
    assert (event_type, newest + 1) not in SCHEMAS
    assert payload == before
    assert upcast(event_type, version, payload) == (newest, raised)
    assert upcast(event_type, newest, raised) == (newest, raised)


def test_an_even_spread_becomes_equal_weights() -> None:
    """Version 1 of experiment_started is read as version 2 with equal weights; what is not known is kept."""
    variants = [{"variant": "a", "weight": 1}, {"variant": "b", "weight": 1}]
    assert upcast("experiment_started", 1, EVENLY) == (2, {**EVENLY, "variants": variants})


def test_a_type_of_one_version_is_returned_as_it_is() -> None:
    """What needs no step costs none: the same object comes back, also for types that are not built in."""
    data = {"order_id": "1"}
    for event_type, version in (("order_shipped", 1), ("invoice_sent", 3)):
        newest, raised = upcast(event_type, version, data)
        assert newest == version
        assert raised is data


@pytest.mark.parametrize(
    ("types", "steps", "said"),
    [
        ([("a", 1), ("a", 2)], [], r"steps missing: \[\('a', 1\)\]"),
        ([("a", 1)], [("a", 1)], r"lead nowhere: \[\('a', 1\)\]"),
        ([("a", 1), ("a", 3)], [("a", 1), ("a", 2)], r"left out of the catalog: \[\('a', 2\)\]"),
    ],
)
def test_a_missing_step_is_found_when_the_catalog_is_loaded(
    types: list[tuple[str, int]], steps: list[tuple[str, int]], said: str
) -> None:
    """A version without a step to the next, or a step to no version, is an error before any event is read."""
    with pytest.raises(ValueError, match=said):
        require_every_step(types, steps)
