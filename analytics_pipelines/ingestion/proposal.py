"""A mapping proposed from the first rows of a file, and what a file would become without anything being written.

Defines `propose` and `dry_run`. A proposal is a beginning: the event type, above all, is for a person to choose.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Any

import yaml

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.batch import prepare
from analytics_pipelines.event_log.catalog import configured_catalog
from analytics_pipelines.event_log.cloud_events import exact_json, looks_like_cloud_event
from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.event_log.schemas.json_schema import json_schema
from analytics_pipelines.event_log.validation import json_text
from analytics_pipelines.ingestion.files import BROKEN, cannot_be_read, read_events, read_rows
from analytics_pipelines.ingestion.formats import LONGEST_EVENT, NEEDS_MAPPING, Row, kind_of, open_file
from analytics_pipelines.ingestion.mapping import Csv, Mapping, map_rows
from analytics_pipelines.ingestion.values import convert, is_missing, moment, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from analytics_pipelines.event_log import Malformed, NewEvent
    from analytics_pipelines.event_log.validation import Refusal
    from analytics_pipelines.event_log.vault import PersonalEvent
    from analytics_pipelines.ingestion.values import Type

FEW_VALUES = 4
"""Of so many times in a column one may be of another form."""
FIRST_ROWS = 1_000
FEWEST_FIELDS = 2
"""A type that shares one field with a row is no guess: many have a `product_id`."""
NAMED_ALIKE, COMPLETE = 1.5, 1.3
"""How much more a type counts for a word of its name, and one of which no field is missing."""
SHOWN_EVENTS = 3
_TIME_NAMES = re.compile(r"time|date|_at$|_on$|^at$|day|^ts$|stamp", re.IGNORECASE)
_ID_NAMES = re.compile(r"(^|[_ .-])(id|no|nr|number|key|uuid|code)$|Id$|ID$", re.IGNORECASE)
_TIME_FORMATS = (
    "iso", "epoch_seconds", "epoch_milliseconds", "epoch_microseconds", "%m/%d/%Y", "%d.%m.%Y", "%d/%m/%Y",
    "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%d.%m.%Y %H:%M:%S",
)  # fmt: skip
_TYPES: tuple[Type, ...] = ("integer", "decimal", "boolean", "json")
_PLAUSIBLE_YEARS = range(1900, 2101)
_PLAUSIBLE_YEARS_OF_NUMBERS = range(1971, 2101)
_DELIMITERS = ",;\t|"


@dataclass
class DryRun:
    """What the first rows of a file would become.

    Attributes:
        rows: how many were read; rows that filters leave out are not among the events.
        events: how many events would be let in, by type.
        first: the first of them, as in CloudEvents; decimals keep every digit.
        refused: how many would be quarantined, by kind and reason.
        proposed: a mapping file, where none was given and one is needed.
    """

    rows: int = 0
    events: Counter[str] = field(default_factory=Counter)
    first: list[dict[str, object]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    proposed: str | None = None


def dry_run(path: Path, mappings: list[Mapping]) -> DryRun:
    """Read the first rows of a file and say what would become of them.

    Raises:
        PipelinesError: the file cannot be read, or no mapping can be proposed.
    """
    done = DryRun()
    try:
        if not mappings and not _holds_cloud_events(path):
            written = _csv(path)
            rows = list(islice(read_rows(path, written), FIRST_ROWS))
            mapping = propose([row for row in rows if isinstance(row, Row)], path, written)
            declared = mapping.model_dump(exclude_defaults=True, exclude_none=True)
            done.proposed = yaml.safe_dump(declared, sort_keys=False, allow_unicode=True)
            mappings = [mapping]
        events = list(_first_events(path, mappings, done))
    except BROKEN as error:
        raise cannot_be_read(path, error) from None
    prepared = prepare(events, _unsealed, configured_catalog())
    for event in (item.event for item in prepared.staged):
        done.events[event.event_type] += 1
        if len(done.first) < SHOWN_EVENTS:
            done.first.append(_shown(event))
    done.refused.update(f"{refusal.kind}: {refusal.reason}" for _, refusal in prepared.refused)
    return done


def _unsealed(events: Sequence[PersonalEvent]) -> list[str | Refusal]:
    """Leave personal values as they are: nothing is written."""
    return [event.refused or json_text(event.sent) for event in events]


def propose(rows: list[Row], path: Path, written: Csv) -> Mapping:
    """Guess a mapping: the time column, the id column, the types, and the nearest type of the catalog.

    Raises:
        PipelinesError: there is no row, or no column holds times.
    """
    columns = {column: [row.values.get(column) for row in rows] for row in rows for column in row.values}
    if not columns:
        raise PipelinesError(f"{path}: has no row to propose a mapping from; give a file with rows")
    times = {column: found for column, values in columns.items() if (found := _time_format(column, values))}
    if not times:
        raise PipelinesError(
            f"{path}: none of the {len(columns)} columns holds times; write a mapping with occurred_at by hand"
        )
    occurred_at = max(times, key=lambda column: _full(columns[column]))
    ids = [column for column, values in columns.items() if _is_identity(column, values)]
    first = next(iter(columns))
    if not ids and first not in times and _type(columns[first]) == "text" and _is_unique(columns[first]):
        ids = [first]
    stem = _as_name(path.name.split(".")[0]) or "row"
    names = {column: _as_name(column) or column for column in columns}
    event_type, fields = _nearest_type(names, stem, times)
    known: dict[str, Any] = {} if event_type is None else json_schema(event_type, 1)["properties"]
    data: dict[str, dict[str, Any]] = {}
    for column, values in columns.items():
        described: dict[str, Any] = {"column": column}
        if column in times:
            described |= {"type": "timestamp", "format": times[column]}
        elif column not in ids and not _is_text(known.get(fields[column], {})):
            described["type"] = _type(values)
        if _full(values) < len(values):
            described["optional"] = True
        data[fields[column]] = described
    return Mapping.model_validate(
        {
            "source": stem,
            "event_type": event_type or "choose_a_type",
            "event_id": f"{{{ids[0]}}}" if ids else None,
            "stream": _stream(event_type, fields, ids[0] if ids else first, stem),
            "occurred_at": {"column": occurred_at, "format": times[occurred_at]},
            "data": data,
            "csv": written,
        }
    )


def _is_text(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "string" for one in schema.get("anyOf", [schema]))


def _as_name(text_: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text_.lower()).strip("_")


def _stream(event_type: str | None, fields: dict[str, str], identity: str, stem: str) -> str:
    """Return the template that the catalog has of the type, if there is a column for it; else one of the identity."""
    if event_type is not None:
        kind, _, subject = json_schema(event_type, 1)["x-stream"].removesuffix(">").partition("-<")
        for column, name in fields.items():
            if name == subject:
                return f"{kind}-{{{column}}}"
    subject = re.sub(r"_?(id|no|nr|number|key|uuid|code)$", "", identity.lower()) if _ID_NAMES.search(identity) else ""
    return f"{_as_name(subject) or stem}-{{{identity}}}"


def _csv(path: Path) -> Csv:
    """Guess the delimiter: the one that the first row has most of."""
    if kind_of(path) != "csv":
        return Csv()
    with open_file(path) as file:
        first = file.readline(LONGEST_EVENT).decode("utf-8", "replace")
    delimiter = max(_DELIMITERS, key=first.count)
    return Csv() if delimiter == "," else Csv(delimiter=delimiter)


def _holds_cloud_events(path: Path) -> bool:
    if kind_of(path) in NEEDS_MAPPING:
        return False
    first = next((row for row in read_rows(path, Csv()) if isinstance(row, Row)), None)
    return first is None or looks_like_cloud_event(first.values)


def _first_events(path: Path, mappings: list[Mapping], done: DryRun) -> Iterator[NewEvent | Malformed]:
    if not mappings:
        for event in islice(read_events(path), FIRST_ROWS):
            done.rows += 1
            yield event
        return

    def counted() -> Iterator[Row | Malformed]:
        for row in islice(read_rows(path, mappings[0].csv), FIRST_ROWS):
            done.rows += 1
            yield row

    yield from map_rows(counted(), mappings, every_column=kind_of(path) in NEEDS_MAPPING)


def _shown(event: NewEvent) -> dict[str, object]:
    return {
        "type": event.event_type,
        "id": event.event_id,
        "source": event.source,
        "subject": event.stream_id,
        "time": event.occurred_at.isoformat(),
        "data": exact_json(json_text(event.data).encode()),
    }


def _time_format(column: str, values: list[Any]) -> str | None:
    """Return the format of a column's values, or None if it does not look like a time.

    Where none fits all values of a column that is named like a time, one that fits nine in ten will do, and all but one
    of four or more: the other rows are refused, and a dry run shows why.
    """
    present = [value for value in values if not is_missing(value)]
    by_name = _TIME_NAMES.search(column) is not None
    fitting: dict[str, int] = {}
    for time_format in _TIME_FORMATS if present else ():
        if not by_name and (time_format.startswith("epoch") or all(text(value).isdigit() for value in present)):
            continue  # any number could be one
        plausible = _PLAUSIBLE_YEARS_OF_NUMBERS if time_format.startswith("epoch") else _PLAUSIBLE_YEARS
        fitting[time_format] = sum(_year(value, time_format) in plausible for value in present)
    best = max(fitting, key=lambda time_format: fitting[time_format], default="")
    others = len(present) - fitting.get(best, 0)
    tolerated = max(len(present) // 10, int(len(present) >= FEW_VALUES)) if by_name else 0
    return best if best and others <= tolerated else None


def _year(value: Any, time_format: str) -> int | None:  # noqa: ANN401 - a cell
    try:
        return moment(value, time_format, UTC).year
    except (ValueError, TypeError, ArithmeticError):
        return None


def _is_identity(column: str, values: list[Any]) -> bool:
    return _ID_NAMES.search(column) is not None and _is_unique(values)


def _is_unique(values: list[Any]) -> bool:
    if _full(values) < len(values):
        return False
    return all(isinstance(value, str | int) for value in values) and len(set(values)) == len(values)


def _type(values: list[Any]) -> Type:
    present = [value for value in values if not is_missing(value)]
    if not present or any(isinstance(value, str) and re.match(r"0[0-9]", value) for value in present):
        return "text"  # a leading zero is part of a code
    for kind in _TYPES:
        try:
            converted = [convert(value, kind, "iso", UTC) for value in present]
        except (ValueError, TypeError, ArithmeticError):
            continue
        if kind != "json" or all(isinstance(value, dict | list) for value in converted):
            return kind
    return "text"


def _full(values: list[Any]) -> int:
    return sum(not is_missing(value) for value in values)


def _nearest_type(names: dict[str, str], stem: str, times: Iterable[str]) -> tuple[str | None, dict[str, str]]:
    """Return the type of the catalog that rows are most like, if any, and what the columns are called as its fields.

    A column `customer` may be the field `customer_id`, and the `id` of a file of orders `order_id`. A type counts more
    for each word that its name shares with the file's, or with a column of times (`paid_at`), and if the rows have all
    that it asks for.
    """
    subjects = {word.removesuffix("s") for word in stem.split("_")}
    words = subjects.union(*(names[column].split("_") for column in times))
    best, likeness, chosen = None, 0.0, names
    for event_type, version in SCHEMAS:
        declared = SCHEMAS[event_type, version].model_fields
        known = set(declared)
        fields = {column: _field(name, known, set(names.values()), subjects) for column, name in names.items()}
        found = set(fields.values())
        alike = len(known & found) / len(known | found) * NAMED_ALIKE ** len(words & set(event_type.split("_")))
        alike *= COMPLETE if found >= {name for name, field_ in declared.items() if field_.is_required()} else 1
        if version == 1 and alike > likeness and len(known & found) >= FEWEST_FIELDS:
            best, likeness, chosen = event_type, alike, fields
    return best, chosen


def _field(name: str, known: set[str], names: set[str], subjects: set[str]) -> str:
    candidates = [f"{subject}_id" for subject in sorted(subjects)] if name == "id" else [f"{name}_id"]
    return name if name in known else next((one for one in candidates if one in known - names), name)
