"""The words a read model is declared with.

Defines `ReadModel` and its kinds of column. A column says what it is folded from; how that becomes SQL stands in
`sql.py`. Every kind folds in any order of arrival: two partial results can be merged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Mapping

OCCURRED_AT = "timestamp with time zone"
_QUOTED = re.compile(r"'([^']*)'")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Column:
    """What all columns have: a name, the SQL type, and what it means, with the unit."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Folded(Column):
    """A column folded from events of these types."""

    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Count(Folded):
    """How many such events."""


@dataclass(frozen=True, slots=True)
class Sum(Folded):
    """The sum of an SQL expression over the event's columns; 0 where there is none."""

    value: str


@dataclass(frozen=True, slots=True)
class Last(Folded):
    """The value of an SQL expression in the last such event, by `(occurred_at, sequence, event_id, source)`."""

    value: str


@dataclass(frozen=True, slots=True)
class Earliest(Folded):
    """The earliest event time."""


@dataclass(frozen=True, slots=True)
class Latest(Folded):
    """The latest event time."""


@dataclass(frozen=True, slots=True)
class Derived(Column):
    """An SQL expression over the other columns of the row."""

    expression: str


@dataclass(frozen=True, slots=True)
class ReadModel:
    """One row per tenant and key, folded from the log.

    Attributes:
        name: the model's name: the view `read_models.<name>` and the asset `read_models/<name>`.
        grain: what one row is, and what the numbers do not mean.
        key: the key column; found in an event's payload under the same name.
        key_description: what the key identifies.
        columns: the other columns, in order.
        keys: for event types whose payload names the key differently, the payload's field.
    """

    name: str
    grain: str
    key: str
    key_description: str
    columns: tuple[Column, ...]
    keys: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a model that names a personal field: nothing that is derived from the log may hold one.

        Raises:
            PipelinesError: it does; the line names the column.
        """
        from analytics_pipelines.event_log.personal import personal_names

        named = [
            (column.name, column.value, column.events) for column in self.columns if isinstance(column, Sum | Last)
        ]
        named += [(self.key, f"'{self.keys.get(event, self.key)}'", (event,)) for event in self.events]
        for column, expression, events in named:
            texts = _QUOTED.findall(expression)
            found = personal_names(events) & {word for text in texts for word in _WORD.findall(text)}
            if found:
                raise PipelinesError(
                    f"read model {self.name}: {column} is made of {', '.join(sorted(found))}, which is personal; leave "
                    "it out, or derive at append what is needed of it (see Payload.derived)"
                )

    @property
    def folded(self) -> list[Folded]:
        """The columns that are kept as state."""
        return [column for column in self.columns if isinstance(column, Folded)]

    @property
    def events(self) -> list[str]:
        """Every event type that changes the model, sorted."""
        return sorted({event for column in self.folded for event in column.events})


def count(name: str, description: str, *events: str) -> Count:
    """Declare a number of events."""
    return Count(name, "bigint", description, events)


def total(name: str, description: str, event: str, value: str) -> Sum:
    """Declare a decimal sum."""
    return Sum(name, "numeric", description, (event,), value)


def last(name: str, kind: str, description: str, event: str, value: str | None = None) -> Last:
    """Declare a value of the last event; the payload's field of the same name unless an expression is given."""
    return Last(name, kind, description, (event,), value or f"(data ->> '{name}')::{kind}")


def earliest(name: str, description: str, *events: str) -> Earliest:
    """Declare when something happened first (UTC)."""
    return Earliest(name, OCCURRED_AT, description, events)


def latest(name: str, description: str, *events: str) -> Latest:
    """Declare when something happened last (UTC)."""
    return Latest(name, OCCURRED_AT, description, events)
