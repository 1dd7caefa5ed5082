"""What a read model is declared with.

Defines `ReadModel`: its key, its columns (`columns.py`), and how events find their keys. Everything else - incremental
update, replay, as-of, rebuild, branches, the asset, its checks, the documentation - follows from the declaration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models.columns import (
    Column,
    Folded,
    Outermost,
    Part,
    literal,
    outermost,
    outermost_shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUOTED = re.compile(r"'([^']*)'")
_WORD = re.compile(r"\w+")
# data ->> 'field', data #>> '{field,...}', data ? 'field'; data['field'] is for what a producer adds to its schema.
_FIELD = re.compile(r"(?<![\w.])data\s*(?:->>?\s*'(\w+)'|#>>?\s*'\{(\w+)|\?\s*'(\w+)')")

STREAMS = "_streams"
"""The part of every row's state that names the streams which its events lie in; null where they are not known."""
MOST_STREAMS = 64
"""The streams of a key that are kept by name; of a key of more, none are."""
_ADDED = f"read_models.add_streams({{0}}, {{1}}, {MOST_STREAMS})"

# What merges is folded by key and stream first, and then by key, which costs least: leads by key alone, with their
# streams sorted out afterwards, took 1.4 times as long (3 million events).
_STREAMS = Part(STREAMS, "stream_id", _ADDED, f"read_models.streams(array_agg({{0}}), {MOST_STREAMS})")
_STREAMS_ANEW = Part(STREAMS, f"read_models.streams(array_agg(distinct stream_id), {MOST_STREAMS})")
_ONLY_STREAM = Part(
    STREAMS,
    'case when min(stream_id collate "C") = max(stream_id collate "C") then array[min(stream_id collate "C")] end',
    "case when {0} = {1} then {0} end",
    "case when count(*) = count({0}) and min({0}) = max({0}) then min({0}) end",
)

LONGEST_NAME = 46
"""Longer names of tables would be cut: `<name>__v<hash>__days` has 63 characters at most."""
RESERVED = {
    "tenant_id", "day", "block", "streams", "first_position", "last_position", "first_occurred_at", "last_occurred_at",
    "first_recorded_at", "last_recorded_at", "at", "up_to_position",
}  # fmt: skip
"""What state has columns of already, and the function as of a moment parameters."""
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True)
class ReadModel:
    """One row per tenant and key, folded from the log.

    Attributes:
        name: the model's name: the view `read_models.<name>` and the asset `read_models/<name>`.
        grain: what one row is, and what the numbers do not mean.
        key: the key columns, with what each identifies. An event without one of them changes nothing.
        columns: the other columns, in order.
        keys: for event types whose payload names the key otherwise than by the key columns' names: an SQL expression
            for each key column.
        each: for event types that are about many keys: the payload's list, each `item` of which is taken for itself. A
            key column is then looked for in the item.
        by_day: also keep partial results by day of event time and block of the log, instead of the names of a key's
            streams. For keys whose events lie in more than `MOST_STREAMS` streams: what was, and what is checked at
            each run, is then made of days. It costs about a row for each day that a key had events, and one for each
            late event.
    """

    name: str
    grain: str
    key: Mapping[str, str]
    columns: tuple[Column, ...]
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    each: Mapping[str, str] = field(default_factory=dict)
    by_day: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that cannot be kept.

        Raises:
            PipelinesError: a column is made of a personal field, or its name is taken; or days are to be kept of what
                cannot be merged; or the model's name is too long. The line names the column.
        """
        from analytics_pipelines.event_log.personal import personal_names

        for column, expressions, events in self._expressions():
            texts = [text for expression in expressions for text in _QUOTED.findall(expression)]
            found = personal_names(events) & {word for text in texts for word in _WORD.findall(text)}
            if found:
                raise PipelinesError(
                    f"read model {self.name}: {column} is made of {', '.join(sorted(found))}, which is personal; leave "
                    "it out, or derive at append what is needed of it (see Payload.derived)"
                )
        if len(self.name) > LONGEST_NAME:
            raise PipelinesError(f"read model {self.name}: give it a name of at most {LONGEST_NAME} characters")
        names = [column.name for column in self.columns] + list(self.key)
        taken = {name for name in names if names.count(name) > 1} | (RESERVED & set(names))
        if taken:
            raise PipelinesError(f"read model {self.name}: the name {', '.join(sorted(taken))} is taken; give another")
        if odd := [name for name in [self.name, *names] if not _NAME.fullmatch(name)]:
            raise PipelinesError(f"read model {self.name}: {odd[0]!r} is no name; take small letters, digits and _")
        if self.by_day and not self.is_mergeable:
            alone = next(part.name for part in self.parts if part.merge is None)
            raise PipelinesError(f"read model {self.name}: by_day needs parts that merge, and {alone} does not")

    def fields_read(self) -> list[tuple[str, set[str], tuple[str, ...]]]:
        """Return for each column, the key, and the lists of `each`, the payload's fields and the event types."""
        return [
            (column, {name for text in expressions for name in map("".join, _FIELD.findall(text))}, events)
            for column, expressions, events in self._expressions()
        ] + [("each", {name}, (event,)) for event, name in self.each.items()]

    def _expressions(self) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        named = [(column.name, column.expressions, column.events) for column in self.folded]
        return named + [(", ".join(self.key), self.key_of(event), (event,)) for event in self.events]

    def key_of(self, event: str) -> tuple[str, ...]:
        """Return the SQL expressions that give the key of an event of this type."""
        payload = "item" if event in self.each else "data"
        return self.keys.get(event) or tuple(f"{payload} ->> {literal(name)}" for name in self.key)

    @cached_property
    def folded(self) -> tuple[Folded, ...]:
        """The columns that are kept as state."""
        return tuple(column for column in self.columns if isinstance(column, Folded))

    @cached_property
    def _outermost(self) -> dict[tuple[str, tuple[str, ...], str], list[Outermost]]:
        groups: dict[tuple[str, tuple[str, ...], str], list[Outermost]] = {}
        for column in self.folded:
            if isinstance(column, Outermost):
                groups.setdefault(column.shared, []).append(column)
        return groups

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The state of a row, each part once."""
        own = [part for column in self.folded for part in column.parts]
        shared = [outermost(columns) for columns in self._outermost.values()]
        merge = all(part.merge for part in [*own, *shared])
        streams = (_ONLY_STREAM if self.by_day else _STREAMS) if merge else _STREAMS_ANEW
        return tuple({part.name: part for part in [*own, *shared, streams]}.values())

    @cached_property
    def is_mergeable(self) -> bool:
        """Whether new events can be added to the state; otherwise the keys they touch are folded again."""
        return all(part.merge for part in self.parts)

    @property
    def merged_streams(self) -> str:
        """The expression for the streams of a row, `{0}`, and of further events, `{1}`."""
        return (_ONLY_STREAM.merge if self.by_day else None) or _ADDED

    def shown(self, column: Folded) -> str:
        """Return the SQL expression that shows a column from the state."""
        if isinstance(column, Outermost):
            return outermost_shown(self._outermost[column.shared], column)
        return column.shown

    @property
    def events(self) -> list[str]:
        """Every event type that changes the model, sorted."""
        return sorted({event for column in self.folded for event in column.events})

    @property
    def descriptions(self) -> dict[str, str]:
        """Every column of the public view, in order, with what it means."""
        return {
            "tenant_id": "Whose row it is",
            **self.key,
            **{column.name: column.description for column in self.columns},
        }
