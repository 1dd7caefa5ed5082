"""Whether an event may enter the log.

Defines `refusal()`: why an event is quarantined, or nothing. The catalog of types and their payloads is `schemas/`.
What only Postgres can tell (a number out of its range, text it cannot hold) is found when the batch is written.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog
from analytics_pipelines.event_log.encryption import SEALED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

    from analytics_pipelines.event_log.event import NewEvent

# Three of them make an index entry, which Postgres limits to 2,704 bytes.
IDENTIFIER_LENGTH = 200
# How far a producer's clock may be ahead of ours.
AHEAD = timedelta(days=1)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
# Reactions to an event are ordered after it by the next sequence numbers.
MOST_SEQUENCE = 2**62
MOST_DIGITS = 4_300
"""Of a number written out, as Postgres writes it: Python reads no whole number of more."""
# A number of more has an exponent of three digits, or at least so many digits without it.
_LONG_EXPONENT = re.compile(r"[0-9][eE][+-]?[0-9]{3,}+[\s,}\]]")
_LONG_MANTISSA = re.compile(r"(?<![0-9.])[0-9.]{2000}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_UNSTORABLE = re.compile(r"\\u0000|\\u[dD][89abAB]|\\u[dD][c-fC-F]")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event is quarantined: the kind (a value of `event_log.quarantine.kind`) and one readable line."""

    kind: str
    reason: str


_UNSTORABLE_TEXT = Refusal("invalid", "data: NUL or half a surrogate pair in a text cannot be stored")


def json_text(data: Mapping[str, Any] | str) -> str:
    """Return a payload as JSON text; decimals keep every digit.

    Raises:
        ValueError: it holds what JSON cannot: NaN, half a surrogate pair, an object, too deep nesting.
    """
    if isinstance(data, str):
        return data
    try:
        text = orjson.dumps(data, default=_number).decode()
    except TypeError as error:
        raise ValueError(f"data: {error.__cause__ or error}") from None
    if "null" in text:  # which orjson also writes for NaN, without a word
        try:
            _WITHOUT_NAN.encode(data)
        except ValueError:
            raise ValueError(f"data: {_NOT_FINITE}") from None
    return text


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value))  # with its exponent: 1E+999999999 written out would be a gigabyte
    raise TypeError(_NOT_FINITE if isinstance(value, Decimal) else f"a {type(value).__name__} is no JSON value")


def _inside(value: object) -> object:
    """Return what orjson reads of a value that Python's own writer does not know."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else None


_NOT_FINITE = "NaN or Infinity is no JSON value"
_WITHOUT_NAN = json.JSONEncoder(allow_nan=False, check_circular=False, default=_inside)


def require_tenant(tenant_id: str) -> None:
    """Refuse what cannot name a tenant.

    Raises:
        PipelinesError: the name is not 1 to 100 letters, digits, `.`, `_` or `-`, beginning with a letter or digit.
    """
    if not _TENANT.fullmatch(tenant_id):
        raise PipelinesError(
            f"tenant {tenant_id[:100]!r}: give 1 to 100 letters, digits, '.', '_' or '-', first a letter or digit"
        )


def refusal(event: NewEvent, data: str, latest: datetime | None = None, catalog: Catalog = BUILT_IN) -> Refusal | None:
    """Say why an event may not enter the log, or None.

    Args:
        event: the event as sent.
        data: its payload as JSON text.
        latest: no event time may be later; a day from now unless given.
        catalog: the event types that may be appended.
    """
    wrong = _wrong_envelope(event, datetime.now(UTC) + AHEAD if latest is None else latest)
    if wrong is not None:
        return wrong
    validator = catalog.validators.get((event.event_type, event.schema_version))
    if validator is None:
        return Refusal("unknown_type", f"type: {event.event_type} version {event.schema_version} is not in the catalog")
    if (not data.isascii() and not _is_storable(data)) or (
        "\\u" in data and _UNSTORABLE.search(data) and _hides_unstorable_text(data)
    ):
        return _UNSTORABLE_TEXT
    try:
        payload = validator.validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in ("data", *first["loc"]))
        return Refusal("invalid", f"{path}: {first['msg']}")
    if isinstance(event.data, str) and _may_repeat_a_key(data, len(payload.__pydantic_fields_set__)):
        key = repeated_key(data)
        if key is not None:
            return Refusal(
                "invalid", f"data: the key {key[:100]!r} comes twice in one object; only one could be stored"
            )
    return _unreadable(data)


def _unreadable(data: str) -> Refusal | None:
    """Refuse what could be stored and then stop every reader: a forged seal, and a number of endless digits."""
    if (SEALED in data or "\\u" in data) and SEALED in _words_of_objects(data):
        return Refusal("invalid", f"data: {SEALED} is the log's own word; send the value itself")
    if _LONG_EXPONENT.search(data) or (len(data) > MOST_DIGITS // 3 and _LONG_MANTISSA.search(data)):
        try:
            json.loads(data, parse_float=_written_out, parse_int=_written_out)
        except ArithmeticError:
            return Refusal("invalid", f"data: a number has more than {MOST_DIGITS:,} digits, written out")
    return None


def _words_of_objects(data: str) -> set[str]:
    """Return the keys of the objects that are values of a payload."""
    values = json.loads(data, parse_int=str, parse_float=str).values()
    return {key for value in values if isinstance(value, dict) for key in value}


def _written_out(number: str) -> None:
    # Postgres writes numbers without exponents: a few bytes sent would be a gigabyte read.
    if len(number) > MOST_DIGITS + len("-.e+999"):
        raise OverflowError
    _, digits, exponent = Decimal(number).as_tuple()
    assert isinstance(exponent, int)
    before_point, after_point = max(len(digits) + exponent, 1), max(-exponent, 0)
    if before_point + after_point > MOST_DIGITS:
        raise OverflowError


def _may_repeat_a_key(data: str, read: int) -> bool:
    """Tell most payloads that cannot repeat a key at the cost of counting characters.

    Each key takes a colon. As many colons as keys read at the top: there is no object within, and none was lost.
    """
    return data.count(":") != read and (data.count("{") > 1 or _places_of_keys(data) != read)


def repeated_key(data: str) -> str | None:
    """Return a key that comes twice in one object of a JSON text, which would silently lose a value, or None.

    Args:
        data: the valid text of a JSON object.
    """
    # A key ends with a quote, perhaps white space, and a colon. As many such places as keys that were read: none was
    # lost. More places, and some came twice or a text looks like a key.
    try:
        keys = _keys(orjson.loads(data))
    except ValueError:
        keys = -1  # what orjson does not read, such as a number out of its range
    if keys == data.count(":") or keys == _places_of_keys(data):
        return None
    try:
        json.loads(data, strict=False, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except _RepeatedKeyError as error:
        return error.args[0]
    return None


class _RepeatedKeyError(Exception):
    """A key comes twice in one object."""


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _RepeatedKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])


def _places_of_keys(data: str) -> int:
    return data.count('":') + data.count(" :") + data.count("\n:") + data.count("\t:") + data.count("\r:")


def _keys(value: dict[str, JsonValue] | list[JsonValue]) -> int:
    """Count the keys of all objects."""
    keys, items = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    for item in items:
        if isinstance(item, (dict, list)):
            keys += _keys(item)
    return keys


def _wrong_envelope(event: NewEvent, latest: datetime) -> Refusal | None:
    if not (
        _is_identifier(event.source)
        and _is_identifier(event.event_id)
        and _is_identifier(event.stream_id)
        and (event.correlation_id is None or _is_identifier(event.correlation_id))
        and (event.causation_id is None or _is_identifier(event.causation_id))
    ):
        return _wrong_identifier(event)
    occurred_at = event.occurred_at
    if abs(event.sequence) > MOST_SEQUENCE:
        return Refusal("malformed", "sequence: beyond 2^62")
    if occurred_at.tzinfo is None:
        return Refusal("malformed", "time: a time zone is needed, such as 2017-06-01T00:00:00Z")
    if occurred_at < EARLIEST:
        return Refusal("invalid", "time: before 1900; series by day would begin there")
    if occurred_at > latest:
        return Refusal("invalid", "time: lies in the future; the watermark would follow it")
    return None


def _is_identifier(text: str | None) -> bool:
    return (
        bool(text) and len(text) <= IDENTIFIER_LENGTH and "\x00" not in text and (text.isascii() or _is_storable(text))
    )


def _wrong_identifier(event: NewEvent) -> Refusal:
    for name in ("source", "event_id", "stream_id", "correlation_id", "causation_id"):
        value = getattr(event, name)
        if not (value is None and name in {"correlation_id", "causation_id"}) and not _is_identifier(value):
            return Refusal("malformed", f"{name}: 1 to {IDENTIFIER_LENGTH} characters of valid text are needed")
    raise AssertionError(event)


def _is_storable(text: str) -> bool:
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def _hides_unstorable_text(data: str) -> bool:
    """Tell an escaped NUL or lone surrogate from a valid pair or an escaped backslash, which look alike."""
    try:
        return any(not _is_storable(text) for text in _texts(json.loads(data)))
    except (ValueError, RecursionError):
        return False  # no JSON at all: the schema says so, with the place


def _texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
