"""How rows become events: what a user declares in a mapping file.

Defines `Mapping`, the declaration (YAML; several in one file, separated by `---`, make several events of each row),
`load_mappings`, and `Mapper`, which applies one. Conversion of single values is in `values.py`.
"""

from __future__ import annotations

import hashlib
import string
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import orjson
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Malformed, NewEvent
from analytics_pipelines.ingestion.values import EPOCHS, Type, convert, describe, is_missing, moment, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from analytics_pipelines.ingestion.formats import Row


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is no time zone such as UTC or Europe/Berlin") from None
    return name


def _time_format(time_format: str) -> str:
    if time_format != "iso" and time_format not in EPOCHS and "%" not in time_format:
        raise ValueError(f"{time_format!r} is none of iso, {', '.join(EPOCHS)}, or a format such as %d.%m.%Y %H:%M")
    return time_format


def _columns_of(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def _template(template: str) -> str:
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r}: {error}") from None
    names = [name for _, name, _, _ in parts if name is not None]
    if not names or not all(names) or any(spec or conversion for _, _, spec, conversion in parts):
        raise ValueError(f"{template!r} is no template such as order-{{order_id}}: columns stand in braces")
    return template


Template = Annotated[str, AfterValidator(_template)]
Zone = Annotated[str, AfterValidator(_zone)]
TimeFormat = Annotated[str, AfterValidator(_time_format)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Time(_Part):
    """Where the event time stands.

    Attributes:
        column: the column.
        format: `iso`, `epoch_seconds`, `epoch_milliseconds`, `epoch_microseconds`, or a format of strptime.
        timezone: of times that name none.
    """

    column: str
    format: TimeFormat = "iso"
    timezone: Zone = "UTC"


class TypeByColumn(_Part):
    """The event type by the value of a column."""

    column: str
    values: Annotated[dict[str, str], Field(min_length=1)]


class DataField(_Part):
    """One field of the payload.

    Attributes:
        column: the column it is read from; or else
        value: the same value in every event.
        type: text, decimal, integer, boolean, timestamp or json.
        optional: leave the field out where the column is empty, instead of refusing the row.
        format: of a timestamp, as `Time.format`.
        timezone: of timestamps that name none.
    """

    column: str | None = None
    value: Any = None
    type: Type = "text"
    optional: bool = False
    format: TimeFormat = "iso"
    timezone: Zone = "UTC"

    @model_validator(mode="after")
    def _has_one_origin(self) -> DataField:
        if (self.column is None) == (self.value is None):
            raise ValueError("give either column or value")
        return self


class Filter(_Part):
    """Which rows count: those whose column has one of these values, or has any (present), or none (present: false)."""

    column: str
    values: list[str] | None = None
    present: bool | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Filter:
        if (self.values is None) == (self.present is None):
            raise ValueError("give either values or present")
        return self


class Csv(_Part):
    """How a CSV file is written; `columns` are the names where its first row is not."""

    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    encoding: Literal["utf-8", "latin-1", "cp1252", "iso8859-15"] = "utf-8"
    columns: list[str] = []


def _field(value: object) -> object:
    return {"column": value} if isinstance(value, str) else value


class Mapping(_Part):
    """How one row becomes one event.

    Attributes:
        source: who produced it.
        event_type: a type of the catalog, or a column with the type for each of its values.
        event_id: a template that is unique within the source; a digest of the row's values unless given, so that rows
            alike in every column are one event.
        stream: a template such as `order-{order_id}`.
        occurred_at: where the event time stands.
        data: the payload by field; a name alone is a column of text.
        schema_version: of the payload.
        sequence: a column that orders events of the same moment.
        correlation_id: a column.
        filters: only rows that pass all of them count; the others are no events.
        csv: how a CSV file is written.
    """

    source: Annotated[str, Field(min_length=1)]
    event_type: str | TypeByColumn
    event_id: Template | None = None
    stream: Template
    occurred_at: Annotated[Time, BeforeValidator(_field)]
    data: dict[str, Annotated[DataField, BeforeValidator(_field)]]
    schema_version: int = 1
    sequence: str | None = None
    correlation_id: str | None = None
    filters: list[Filter] = []
    csv: Csv = Csv()

    def columns(self) -> dict[str, str]:
        """Return every column it reads, with the part of the mapping that names it first."""
        named = [(column, "stream") for column in _columns_of(self.stream)]
        named += [(column, "event_id") for column in _columns_of(self.event_id or "")]
        named.append((self.occurred_at.column, "occurred_at"))
        if isinstance(self.event_type, TypeByColumn):
            named.append((self.event_type.column, "event_type"))
        named += [
            (column, part)
            for column, part in ((self.sequence, "sequence"), (self.correlation_id, "correlation_id"))
            if column
        ]
        named += [(field.column, f"data.{name}") for name, field in self.data.items() if field.column]
        named += [(chosen.column, "filters") for chosen in self.filters]
        parts: dict[str, str] = {}
        for column, part in named:
            parts.setdefault(column, part)
        return parts


def load_mappings(path: Path) -> list[Mapping]:
    """Read a mapping file.

    Raises:
        PipelinesError: it cannot be read, or a field of it is wrong; the line names the field.
    """
    try:
        documents = [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8-sig")) if found is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise PipelinesError(f"{path}: cannot be read as YAML: {reason}; correct the mapping file") from None
    if not documents:
        raise PipelinesError(f"{path}: holds no mapping; `pipelines ingest FILE --tenant T --dry-run` proposes one")
    try:
        return [Mapping.model_validate(document) for document in documents]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the mapping"
        raise PipelinesError(f"{path}: {place}: {first['msg']}; correct the mapping file") from None


class Mapper:
    """Applies one mapping to rows."""

    def __init__(self, mapping: Mapping) -> None:
        """Prepare what is the same for every row."""
        self._mapping = mapping
        self._columns = mapping.columns()
        self._zone = _open_zone(mapping.occurred_at.timezone)
        self._fields = [(name, field, _open_zone(field.timezone)) for name, field in mapping.data.items()]

    def require_columns(self, row: Row, *, every: bool) -> None:
        """Refuse a file that lacks a column, once, where each row of it would be refused for the same reason.

        Raises:
            PipelinesError: a column is named that the file does not have.
        """
        missing = [f"{column!r} for {part}" for column, part in self._columns.items() if column not in row.values]
        if every and missing:  # what it has instead is not said: without a header that would be its first row
            raise PipelinesError(
                f"{row.origin}: among its {len(row.values)} columns there is no {', '.join(missing)}; correct the "
                "mapping, or name the columns in it where the first row does not (csv.columns)"
            )

    def event(self, row: Row) -> NewEvent | Malformed | None:
        """Return the event of a row, why it is none, or None where a filter leaves it out."""
        values, mapping = row.values, self._mapping
        part = "filters"
        try:
            if not all(_passes(values.get(chosen.column), chosen) for chosen in mapping.filters):
                return None
            part = "event_type"
            event_type = self._event_type(values)
            part = "stream"
            stream_id = _fill(mapping.stream, values)
            part = "event_id"
            event_id = _digest(event_type, values) if mapping.event_id is None else _fill(mapping.event_id, values)
            part = "occurred_at"
            time = mapping.occurred_at
            occurred_at = moment(_present(values, time.column), time.format, self._zone)
            part = "sequence"
            sequence = (
                0 if mapping.sequence is None else convert(_present(values, mapping.sequence), "integer", "iso", UTC)
            )
            part = "correlation_id"
            correlated = None if mapping.correlation_id is None else values.get(mapping.correlation_id)
            correlation_id = None if is_missing(correlated) else text(correlated)
            data: dict[str, Any] = {}
            for name, field, zone in self._fields:
                part = f"data.{name}"
                if field.column is None:
                    data[name] = field.value
                    continue
                value = values.get(field.column)
                if not is_missing(value):
                    data[name] = convert(value, field.type, field.format, zone)
                elif not field.optional:
                    _present(values, field.column)
        except (ValueError, TypeError, RecursionError, ArithmeticError) as error:
            content = row.content if row.content is not None else content_of(values)
            return Malformed(content, f"{part}: {str(error) or 'nested too deeply'}", row.origin)
        return NewEvent(
            source=mapping.source,
            event_id=event_id,
            stream_id=stream_id,
            event_type=event_type,
            occurred_at=occurred_at,
            data=data,
            schema_version=mapping.schema_version,
            sequence=sequence,
            correlation_id=correlation_id,
            origin=row.origin,
        )

    def _event_type(self, values: dict[str, Any]) -> str:
        chosen = self._mapping.event_type
        if isinstance(chosen, str):
            return chosen
        value = text(_present(values, chosen.column))
        if value not in chosen.values:
            raise ValueError(f"column {chosen.column} has {describe(value)} for which the mapping names no type")
        return chosen.values[value]


def map_rows(
    rows: Iterable[Row | Malformed], mappings: list[Mapping], *, every_column: bool
) -> Iterator[NewEvent | Malformed]:
    """Yield the events of rows: of each row one for each mapping whose filters it passes.

    Args:
        rows: the rows.
        mappings: what to make of them.
        every_column: whether every row has every column, as in a table; plain JSON may leave some out.
    """
    mappers = [Mapper(mapping) for mapping in mappings]
    first = True
    for row in rows:
        if isinstance(row, Malformed):
            yield row
            continue
        if first:
            first = False
            for mapper in mappers:
                mapper.require_columns(row, every=every_column)
        for mapper in mappers:
            event = mapper.event(row)
            if event is not None:
                yield event


def content_of(values: dict[str, Any]) -> bytes:
    """Write down a row that has no bytes of its own."""
    try:
        return orjson.dumps(values, default=str)
    except TypeError:
        return repr(values).encode("utf-8", "backslashreplace")


def _open_zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _present(values: dict[str, Any], column: str) -> Any:  # noqa: ANN401 - whatever a row holds
    value = values.get(column)
    if is_missing(value):
        raise ValueError(f"column {column} is empty")
    return value


def _fill(template: str, values: dict[str, Any]) -> str:
    parts: list[str] = []
    for literal, column, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if column is not None:
            parts.append(text(_present(values, column)))
    return "".join(parts)


def _passes(value: object, chosen: Filter) -> bool:
    if chosen.values is None:
        return chosen.present is not is_missing(value)
    return not is_missing(value) and text(value) in chosen.values


def _digest(event_type: str, values: dict[str, Any]) -> str:
    written = orjson.dumps([event_type, values], default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).hexdigest()
