"""What a line of a file becomes: an event with every digit, or the reason why it is none."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_pipelines.event_log import Malformed, NewEvent
from analytics_pipelines.event_log.cloud_events import exact_json, parse_exactly
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

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.decimals(allow_nan=False, allow_infinity=False),
    lambda items: st.lists(items, max_size=4) | st.dictionaries(st.text(), items, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(st.text(), JSON, max_size=5)


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
        ({"time": "yesterday"}, "time: an RFC 3339 time such as"),
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


def test_a_broken_value_of_an_array_stands_alone(tmp_path: Path) -> None:
    """What is no event between others is quarantined; an array that was cut off is said to be."""
    good = json.dumps(GOOD)
    whole, cut = tmp_path / "a.json", tmp_path / "b.json"
    whole.write_text(f"[{good}, oops {{}}, {good}]")
    cut.write_text(f"[{good}, {good[:50]}")
    first, broken, last = read_events(whole)
    assert isinstance(first, NewEvent)
    assert isinstance(last, NewEvent)
    assert isinstance(broken, Malformed)
    assert (broken.content, broken.origin) == (b"oops {}", "a.json: event 2")
    first, broken = read_events(cut)
    assert isinstance(broken, Malformed)
    assert broken.content == good[:50].encode()


def written(value: Any) -> str:
    """Write JSON with every digit of a decimal."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii="\\u0000" in json.dumps(value))


def same(first: NewEvent | Malformed, second: NewEvent | Malformed) -> bool:
    def value(item: NewEvent | Malformed) -> object:
        if isinstance(item, Malformed):
            return item
        try:
            data = exact_json(json_text(item.data).encode())
        except ValueError as error:  # what no JSON text can hold is refused when it is appended
            data = str(error)
        return item.event_id, item.stream_id, item.occurred_at, data

    return value(first) == value(second)


@given(OBJECT)
@example({"a:b": "\\u003a", 'quote"': {"x": [Decimal("1E+400"), 10**40]}})
def test_both_parsers_read_the_value_that_was_written(data: dict[str, Any]) -> None:
    """Whatever JSON an event carries, the quick parser and the exact one hand on the same value."""
    line = written(GOOD | {"data": data}).encode("utf-8", "surrogatepass")
    quick, exact = parse_event(line, "f:1"), parse_exactly(line, "f:1")
    assert same(quick, exact)
    if isinstance(quick, NewEvent):
        assert exact_json(json_text(quick.data).encode()) == exact_json(written(data).encode())


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c:d", "\\u0061", "\\u003a", ":"]), st.integers()), max_size=6))
def test_a_key_given_twice_is_found_however_it_is_written(pairs: list[tuple[str, int]]) -> None:
    """The quick parser accepts no object in which a key comes twice, also if one of them is escaped."""
    data = "{" + ", ".join(f'"{name}" : {number}' for name, number in pairs) + "}"
    line = written(GOOD).replace('{"order_id":"1","amount":1}', data).encode()
    names = [json.loads(f'"{name}"') for name, _ in pairs]
    assert isinstance(parse_event(line, "f:1"), Malformed) == (len(set(names)) < len(names))


HOSTILE = {
    "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep within an event": written(GOOD).replace('"amount":1', '"a":' + "[" * 5_000 + "]" * 5_000).encode(),
    "huge number": written(GOOD).replace('"amount":1', '"amount":1e999999999').encode(),
    "many digits": written(GOOD).replace('"amount":1', '"amount":' + "9" * 10_000).encode(),
    "sequence beyond all bounds": written(GOOD | {"sequence": Decimal("1E+99999999")}).encode(),
    "NUL": written(GOOD | {"id": "a\x00b"}).encode(),
    "half a surrogate pair": written(GOOD).replace('"1"', '"\\ud800"').encode(),
    "text of 10 MB": written(GOOD | {"data": {"order_id": "x" * 10_000_000, "amount": 1}}).encode(),
    "key twice": written(GOOD).replace('"amount":1', '"amount":1,"amount":2').encode(),
    "key twice in the envelope": b'{"id":"2",' + written(GOOD).encode()[1:],
    "invalid UTF-8": written(GOOD).replace('"1"', '"\xff"').encode("latin-1"),
    "surrogates in UTF-8": written(GOOD).replace('"order-1"', '"\ud800"').encode("utf-8", "surrogatepass"),
    "UTF-16": written(GOOD).encode("utf-16"),
    "bidirectional text": written(GOOD | {"data": {"order_id": "\u202eabc\u2066", "amount": 1}}).encode(),
    "not a number": written(GOOD).replace('"amount":1', '"amount":NaN').encode(),
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_lines_are_read_alike_or_refused_with_a_reason(line: bytes) -> None:
    """Nothing raises, and what the quick parser lets through has the value that the exact one reads."""
    quick, exact = parse_event(line, "f:1"), parse_exactly(line, "f:1")
    assert isinstance(exact, Malformed) or same(quick, exact)
    if isinstance(quick, Malformed):
        assert quick.reason
        assert quick.content == line
