"""What is sent in bulk, made ready to be written: cut into chunks, validated, sealed, and put as COPY wants it.

Defines `chunks()` and `prepare()`. How a prepared chunk enters the log stands in `writing.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog
from analytics_pipelines.event_log.event import Malformed, NewEvent
from analytics_pipelines.event_log.validation import AHEAD, Refusal, json_text, refusal
from analytics_pipelines.event_log.vault import PersonalEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from analytics_pipelines.event_log.personal import PersonalFields

    Item = TypeVar("Item")
    Seal = Callable[[Sequence[PersonalEvent]], list[str | Refusal]]

CHUNK_EVENTS = 10_000
CHUNK_CHARACTERS = 16_000_000
OTHER_CHARACTERS = 8
"""What a value weighs beside its text: many numbers are long, too."""


class Staged(NamedTuple):
    """A valid event with its COPY fields, and its payload as it is stored."""

    event: NewEvent
    text: str
    data: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A chunk ready to be written: valid events, and what was refused with the reason."""

    staged: list[Staged] = field(default_factory=list)
    refused: list[tuple[NewEvent | Malformed, Refusal]] = field(default_factory=list)


def chunks(events: Iterable[NewEvent | Malformed]) -> Iterator[list[NewEvent | Malformed]]:
    """Cut a stream of events into chunks that fit a transaction and bounded memory."""
    return cut(events, _weight_of_event, CHUNK_EVENTS)


def _weight_of_event(event: NewEvent | Malformed) -> int:
    if isinstance(event, Malformed):
        return len(event.content)
    return len(event.raw or "") + weight(event.data)


def cut(items: Iterable[Item], weigh: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Cut items into chunks of bounded memory: of so many items at most, and fewer where they weigh much."""
    chunk: list[Item] = []
    characters = 0
    for item in items:
        chunk.append(item)
        characters += weigh(item)
        if len(chunk) >= most or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def weight(value: object) -> int:
    """Return about how many characters a value holds, without writing it down; a very large one is not read to its end.

    Args:
        value: a payload, or what a row holds.
    """
    if isinstance(value, str):
        return len(value)
    characters, waiting = 0, [value]
    while waiting and characters < CHUNK_CHARACTERS:
        item = waiting.pop()
        if isinstance(item, (str, bytes)):
            characters += len(item)
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
        characters += OTHER_CHARACTERS
    return characters


def columns(events: Sequence[NewEvent]) -> dict[str, list[Any]]:
    """Return the fields of events as lists, by the names that they have in our SQL; payloads are not among them."""
    return {
        "sources": [event.source for event in events],
        "event_ids": [event.event_id for event in events],
        "stream_ids": [event.stream_id for event in events],
        "event_types": [event.event_type for event in events],
        "schema_versions": [event.schema_version for event in events],
        "sequences": [event.sequence for event in events],
        "moments": [event.occurred_at for event in events],
        "correlation_ids": [event.correlation_id for event in events],
        "causation_ids": [event.causation_id for event in events],
    }


def prepare(chunk: list[NewEvent | Malformed], seal: Seal, catalog: Catalog = BUILT_IN) -> Prepared:
    """Validate one chunk and write its rows as COPY wants them.

    Args:
        chunk: what was sent.
        seal: how personal values are encrypted; called once, for the events of types that have some.
        catalog: the event types that may be appended.
    """
    outcomes: list[str | Refusal] = []
    personal: dict[int, PersonalEvent] = {}
    latest = datetime.now(UTC) + AHEAD
    for place, item in enumerate(chunk):
        if isinstance(item, Malformed):
            outcomes.append(Refusal("malformed", item.reason))
            continue
        declared = catalog.personal.get((item.event_type, item.schema_version))
        if declared is not None:
            personal[place] = read_personal(item, declared, latest, catalog)
            outcomes.append("")
            continue
        try:
            data = json_text(item.data)
        except ValueError as error:
            outcomes.append(Refusal("invalid", str(error)))
        else:
            outcomes.append(refusal(item, data, latest, catalog) or data)
    if personal:
        for place, outcome in zip(personal, seal(list(personal.values())), strict=True):
            outcomes[place] = outcome
    prepared = Prepared()
    for item, outcome in zip(chunk, outcomes, strict=True):
        if isinstance(outcome, Refusal):
            prepared.refused.append((item, outcome))
        else:
            assert isinstance(item, NewEvent)
            prepared.staged.append(Staged(item, _fields(item, outcome), outcome))
    return prepared


def read_personal(
    event: NewEvent, declared: PersonalFields, latest: datetime | None = None, catalog: Catalog = BUILT_IN
) -> PersonalEvent:
    """Read and validate an event of a type with personal fields, before they are sealed."""
    try:
        sent = declared.read(event.data)
        reason = refusal(event, json_text(event.data if sent is None else sent), latest, catalog)
    except ValueError as error:
        sent, reason = None, Refusal("invalid", str(error))
    if sent is None:
        reason = reason or Refusal("invalid", "data: a JSON object is needed")
        return PersonalEvent(event, None, {}, {}, reason)
    return PersonalEvent(event, declared.subject(sent), sent, declared.values(sent), reason)


def _fields(event: NewEvent, data: str) -> str:
    """Write a row in COPY's text format; by hand, as it is twice as fast as the driver's `write_row`."""
    return (
        f"{_text(event.source)}\t{_text(event.event_id)}\t{_text(event.stream_id)}\t{event.event_type}\t"
        f"{event.schema_version}\t{event.sequence}\t{_moment(event.occurred_at)}\t{_text(event.correlation_id)}\t"
        f"{_text(event.causation_id)}\t{_text(data)}"
    )


def _moment(moment: datetime) -> str:
    """Write a moment; `isoformat` takes three times as long, and is needed for subclasses and offsets with seconds."""
    is_plain = type(moment) is datetime and moment.tzinfo is UTC
    return orjson.dumps(moment).decode()[1:-1] if is_plain else moment.isoformat()


def _text(value: str | None) -> str:
    if value is None:
        return r"\N"
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\t" in value or "\n" in value or "\r" in value:
        value = value.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return value
