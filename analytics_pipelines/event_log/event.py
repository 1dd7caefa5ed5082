"""What an event is, before and after it is in the log.

Defines `NewEvent` (what a producer sends), `Event` and `Gap` (what a reader gets) and the results of appending. No
storage here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

import orjson


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event as its producer sends it.

    Attributes:
        source: who produced it; identity is tenant + source + event_id.
        event_id: its id, unique within the source.
        stream_id: the aggregate it belongs to ("lead-42").
        event_type: `snake_case`, past tense, from the catalog.
        occurred_at: event time; must be aware, is stored in UTC with microseconds.
        data: the payload, a JSON object, or that object's JSON text. Money is a decimal, never a float.
        schema_version: the version of the payload's schema.
        sequence: orders events of one source that occurred at the same moment.
        correlation_id: what ties together all that one request caused.
        causation_id: the id of the event or command that caused this one.
        origin: where it was read, such as a file and line; shown when it is refused.
        raw: the bytes it was read from; kept when it is refused.
    """

    source: str
    event_id: str
    stream_id: str
    event_type: str
    occurred_at: datetime
    data: Mapping[str, Any] | str
    schema_version: int = 1
    sequence: int = 0
    correlation_id: str | None = None
    causation_id: str | None = None
    origin: str | None = None
    raw: bytes | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something sent that is no event at all: its bytes and why it cannot be read."""

    content: bytes
    reason: str
    origin: str


class _Row(NamedTuple):
    """One row of the log. A named tuple is made three times as fast as a frozen dataclass."""

    position: int
    tenant_id: str
    source: str
    event_id: str
    stream_id: str
    stream_version: int
    event_type: str
    schema_version: int
    sequence: int
    occurred_at: datetime
    recorded_at: datetime
    correlation_id: str | None
    causation_id: str | None
    data_json: str


class Event(_Row):
    """An event as it stands in the log. Times are UTC.

    Attributes:
        data_json: the payload as JSON text, every digit kept.
        data: the payload, decoded when it is first asked for. Numbers with a fraction are `Decimal`.
    """

    @cached_property
    def data(self) -> dict[str, Any]:
        """The payload."""
        return decode(self.data_json)


# What orjson would round: a fraction, and a whole number that may not fit 64 bits. Postgres writes no exponents.
_NEEDS_CARE = re.compile(r"\d\.\d|\d{19}")


def decode(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Decode JSON as Postgres writes it; every number keeps its value."""
    return orjson.loads(text) if _NEEDS_CARE.search(text) is None else _exact(text)


_exact = json.JSONDecoder(parse_float=Decimal).decode


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that a subscription dropped because its reader was too slow.

    Attributes:
        first_position: no event before it was dropped.
        last_position: nor one after it.
        missed: how many of the subscription's events lie between the two, both included.
    """

    first_position: int
    last_position: int
    missed: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: accepted + duplicates + quarantined == sent.

    Attributes:
        accepted: how many are new in the log.
        duplicates: how many it had.
        quarantined: how many were refused.
        erased: how many of these because their person was erased.
    """

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    erased: int = 0

    @property
    def sent(self) -> int:
        """How many events were sent."""
        return self.accepted + self.duplicates + self.quarantined

    def __add__(self, other: BatchResult) -> BatchResult:
        """Add up two batches."""
        return BatchResult(
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.quarantined + other.quarantined,
            self.erased + other.erased,
        )
