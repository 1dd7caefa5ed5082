"""What an event is, before and after it is in the log.

Defines `NewEvent` (what a producer sends), `Event` (what a reader gets) and the results of appending. No storage here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


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


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it stands in the log. Times are UTC; numbers with a fraction in `data` are `Decimal`."""

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
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch: accepted + duplicates + quarantined == sent."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0

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
        )
