"""One value of a row, as the type that a mapping declares.

Defines `convert` and `moment`. A value that is not of its type is a `ValueError` whose text says so and shows nothing
of the value, which may be personal; nothing is rounded, guessed or left out.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import orjson

from analytics_pipelines.event_log.cloud_events import exact_json

if TYPE_CHECKING:
    from datetime import tzinfo

Type = Literal["text", "decimal", "integer", "boolean", "timestamp", "json"]

EPOCHS = {"epoch_seconds": 1, "epoch_milliseconds": 1_000, "epoch_microseconds": 1_000_000}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "t": True, "yes": True, "y": True, "1": True} | {
    "false": False, "f": False, "no": False, "n": False, "0": False
}  # fmt: skip


def is_missing(value: object) -> bool:
    """Tell whether a row has no value in a column: a null, or an empty field of CSV."""
    return value is None or value == ""


def text(value: Any) -> str:  # noqa: ANN401 - whatever a row holds
    """Return a value as text: numbers as they are written, times as ISO 8601, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal | float):
        return str(_number(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode()
    return orjson.dumps(_checked(value), default=str).decode()


def convert(value: Any, kind: Type, time_format: str, zone: tzinfo) -> Any:  # noqa: ANN401 - whatever a row holds
    """Return a value as JSON has it.

    Raises:
        ValueError: the value is not of the type.
    """
    if kind == "text":
        return text(value)
    if kind == "decimal":
        return _decimal(value)
    if kind == "integer":
        number = _decimal(value)
        if not -(2**63) <= number < 2**63 or number != number.to_integral_value():
            raise ValueError(f"{describe(value)} is no whole number of 64 bits")
        return int(number)
    if kind == "boolean":
        found = value if isinstance(value, bool) else _BOOLEANS.get(text(value).strip().lower())
        if found is None:
            raise ValueError(f"{describe(value)} is neither true nor false")
        return found
    if kind == "timestamp":
        return moment(value, time_format, zone).astimezone(UTC).isoformat()
    return exact_json(value.encode()) if isinstance(value, str) else _checked(value)


def moment(value: Any, time_format: str, zone: tzinfo) -> datetime:  # noqa: ANN401 - whatever a row holds
    """Return a time.

    Args:
        value: a text, a number since 1970, or a time already.
        time_format: `iso`, one of `EPOCHS`, or a format of strptime such as `%d.%m.%Y %H:%M`.
        zone: of times that name none.

    Raises:
        ValueError: the value is no such time.
    """
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, date):
            found = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - its zone follows
        elif time_format in EPOCHS:
            # Whole microseconds: a float has not enough digits for today's.
            number = convert(_decimal(value) * (1_000_000 // EPOCHS[time_format]), "integer", "iso", UTC)
            return EPOCH + timedelta(microseconds=number)
        elif time_format == "iso":
            found = datetime.fromisoformat(text(value).strip())
        else:
            found = datetime.strptime(text(value).strip(), time_format)  # noqa: DTZ007 - its zone follows
    except (ValueError, ArithmeticError):
        raise ValueError(f"{describe(value)} is no time of the format {time_format}") from None
    return found.replace(tzinfo=zone) if found.tzinfo is None else found


def _decimal(value: Any) -> Decimal:  # noqa: ANN401 - whatever a row holds
    if isinstance(value, Decimal | int | float) and not isinstance(value, bool):
        return _number(value)
    written = text(value).strip()
    if not _DECIMAL.fullmatch(written):
        raise ValueError(f"{describe(value)} is no number such as 1234.50")
    return Decimal(written)


def _number(value: float | Decimal) -> Decimal:
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise ValueError("NaN or Infinity is no JSON number")
    return number


def _checked(value: Any) -> Any:  # noqa: ANN401 - whatever a row holds
    """Refuse what the writer of JSON would turn into null without a word."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN or Infinity is no JSON number")
    if isinstance(value, dict):
        for item in value.values():
            _checked(item)
    elif isinstance(value, list):
        for item in value:
            _checked(item)
    return value


def describe(value: object) -> str:
    """Say what kind of value it is, and how long a text; never what stands in it."""
    if isinstance(value, str):
        return f"a text of length {len(value)}"
    return f"a value of the type {type(value).__name__}"
