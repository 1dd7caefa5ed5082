"""CloudEvents 1.0: one JSON object, read into an event.

Defines `parse()`. Numbers keep every digit and duplicate keys are refused, so that what is stored is what was sent.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analytics_pipelines.event_log.event import Malformed, NewEvent

if TYPE_CHECKING:
    _Json = dict[str, Any] | list[Any] | str | Decimal | int | None

SAFE_DIGITS = 18
_REQUIRED = ("id", "source", "type", "subject", "time", "data")


def parse(content: bytes, origin: str) -> NewEvent | Malformed:
    """Read one CloudEvents 1.0 JSON object; numbers keep every digit, duplicate keys are refused.

    Args:
        content: the object's bytes, UTF-8.
        origin: where it stands, for the quarantine.
    """
    try:
        return replace(_event(exact_json(content)), origin=origin, raw=content)
    except (ValueError, RecursionError) as error:
        return Malformed(content, str(error) or "nested too deeply", origin)


def exact_json(content: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read JSON; numbers keep every digit.

    Raises:
        ValueError: it is no JSON, or an object has a key twice.
        RecursionError: it is nested too deeply.
    """
    return json.loads(
        content, object_pairs_hook=_unique, parse_int=_whole, parse_float=Decimal, parse_constant=_refuse_constant
    )


def _event(sent: _Json) -> NewEvent:
    if not isinstance(sent, dict):
        raise ValueError("a JSON object is needed")  # noqa: TRY004 - wrong input, not a wrong call
    missing = [name for name in _REQUIRED if name not in sent]
    if missing:
        raise ValueError(f"{', '.join(missing)}: missing")
    for name in ("id", "source", "type", "subject", "time"):
        if not isinstance(sent[name], str):
            raise ValueError(f"{name}: a text is needed")  # noqa: TRY004 - wrong input, not a wrong call
    data: _Json = sent["data"]
    if not isinstance(data, dict):
        raise ValueError("data: a JSON object is needed")  # noqa: TRY004 - the same
    return NewEvent(
        source=sent["source"],
        event_id=sent["id"],
        stream_id=sent["subject"],
        event_type=sent["type"],
        occurred_at=_time(sent["time"]),
        data=data,
        schema_version=_integer(sent, "dataschemaversion", 1),
        sequence=_integer(sent, "sequence", 0),
        correlation_id=_optional_text(sent, "correlationid"),
        causation_id=_optional_text(sent, "causationid"),
    )


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"time: {text!r} is no RFC 3339 time such as 2017-06-01T12:00:00Z") from None


def _integer(sent: dict[str, Any], name: str, default: int) -> int:
    value = sent.get(name, default)
    is_whole = isinstance(value, int | str) or (isinstance(value, Decimal) and value == value.to_integral_value())
    try:
        number = int(value) if is_whole and not isinstance(value, bool) else None
    except ValueError:
        number = None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(f"{name}: a whole number is needed")
    return number


def _optional_text(sent: dict[str, Any], name: str) -> str | None:
    value = sent.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: a text is needed")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"{twice}: given twice in one object")
    return unique


def _whole(digits: str) -> int | Decimal:
    """Read a whole number; one beyond 64 bits as a decimal, which the log's JSON writer keeps exactly."""
    return int(digits) if len(digits) <= SAFE_DIGITS else Decimal(digits)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
