"""What a line of a file becomes: an event with every digit, or the reason why it is none."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_pipelines.event_log import Malformed, NewEvent
from analytics_pipelines.event_log.cloud_events import exact_json
from analytics_pipelines.event_log.validation import json_text
from analytics_pipelines.ingestion.files import parse_event, read_events

if TYPE_CHECKING:
    from pathlib import Path

GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "1",
    "source": "shop",
    "type": "order_paid",
    "subject": "order-1",
    "time": "2017-06-01T12:00:00+02:00",
    "data": {"order_id": "1", "amount": 1},
}


def parse(event: object) -> NewEvent | Malformed:
    return parse_event(json.dumps(event).encode(), "file:1")


def test_a_cloud_event_is_read_with_its_extensions() -> None:
    """Identity, times, order and correlation arrive as they were sent; time is the same moment."""
    event = parse(GOOD | {"sequence": "7", "correlationid": "c", "causationid": "d", "dataschemaversion": 2})
    assert isinstance(event, NewEvent)
    assert event.occurred_at == datetime(2017, 6, 1, 10, tzinfo=UTC)
    assert (event.source, event.event_id, event.stream_id, event.event_type) == ("shop", "1", "order-1", "order_paid")
    assert (event.sequence, event.schema_version, event.correlation_id, event.causation_id) == (7, 2, "c", "d")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "id: a text is needed"),
        ({"time": "yesterday"}, "time: 'yesterday' is no RFC 3339 time"),
        ({"data": []}, "data: a JSON object is needed"),
        ({"sequence": "first"}, "sequence: a whole number is needed"),
        ({"sequence": 2**70}, "sequence: a whole number is needed"),
        ({"correlationid": 5}, "correlationid: a text is needed"),
    ],
)
def test_a_line_that_is_no_event_says_which_field_and_why(change: dict[str, object], reason: str) -> None:
    """The reason names the field; the bytes and the place are kept."""
    refused = parse(GOOD | change)
    assert isinstance(refused, Malformed)
    assert reason in refused.reason
    assert refused.origin == "file:1"
    assert json.loads(refused.content) == GOOD | change


@pytest.mark.parametrize("content", [b"", b"[1", b"null", b"42", b"\xff\xfe", b'{"id": NaN}', b"[" * 100_000])
def test_bytes_that_are_no_object_are_refused_not_raised(content: bytes) -> None:
    """Whatever the bytes, the answer is a reason."""
    refused = parse_event(content, "file:1")
    assert isinstance(refused, Malformed)
    assert refused.reason


def test_a_key_given_twice_is_refused() -> None:
    """Two values under one key: no one can tell which was meant."""
    refused = parse_event(b'{"id": "1", "id": "2"}', "file:1")
    assert isinstance(refused, Malformed)
    assert refused.reason == "id: given twice in one object"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**30), max_value=10**30))
def test_numbers_keep_every_digit(amount: Decimal) -> None:
    """A decimal is read as the decimal that was written, never as a float."""
    text = json.dumps(GOOD).replace('"amount": 1', f'"amount": {amount:f}')
    event = parse_event(text.encode(), "file:1")
    assert isinstance(event, NewEvent)
    data = exact_json(json_text(event.data).encode())
    assert isinstance(data, dict)
    assert Decimal(data["amount"]) == amount


@given(st.binary(max_size=200))
def test_no_bytes_raise(content: bytes) -> None:
    """Any bytes are an event or malformed."""
    assert isinstance(parse_event(content, "file:1"), NewEvent | Malformed)


def test_a_file_is_read_line_by_line_also_compressed(tmp_path: Path) -> None:
    """Empty lines are passed over, the origin names file and line, and .gz is read alike."""
    lines = json.dumps(GOOD) + "\n\nbroken\n" + json.dumps(GOOD | {"id": "2"})
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(lines)
    packed.write_bytes(gzip.compress(lines.encode()))
    for path in (plain, packed):
        first, broken, last = read_events(path)
        assert isinstance(first, NewEvent)
        assert isinstance(last, NewEvent)
        assert isinstance(broken, Malformed)
        assert broken.origin == f"{path.name}:3"
