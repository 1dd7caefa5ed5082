"""The words a read model's columns are declared with, and what each is folded from.

Defines the kinds of column. A kind says which parts of state it keeps, how a part is folded from events, how two
partial results become one, and how the column is shown from its parts. Add a kind here; whole statements are made of
these in `sql.py`. A part that cannot be merged has no `merge`: the keys that new events touch are then folded again.

SQL expressions of a declaration read the columns of the log: `event_type`, `occurred_at`, `data`, and `item` where an
event is taken apart (see `ReadModel.each`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOMENT = "timestamp with time zone"
ORDER = 'occurred_at, sequence, event_id collate "C", source collate "C"'


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of state.

    Attributes:
        name: its column in the state's table; an underscore first, as nobody else reads it.
        fold: the aggregate over events.
        merge: two of it as one, `{0}` and `{1}`; None where that is impossible.
        combine: the aggregate over partial results, `{0}`.
    """

    name: str
    fold: str
    merge: str | None = None
    combine: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """What all columns have: a name, the SQL type, and what it means, with the unit."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class Derived(Column):
    """An SQL expression over the folded columns of the row."""

    expression: str


@dataclass(frozen=True, slots=True)
class Folded(Column):
    """A column folded from events of these types, of which `where` (an SQL condition) may leave out some."""

    events: tuple[str, ...]
    where: str = field(default="", kw_only=True)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The state it keeps for itself; none where it shares that of others (see `Outermost`)."""
        return ()

    @property
    def shown(self) -> str:
        """The column, from its state."""
        return f"_{self.name}"

    @property
    def expressions(self) -> tuple[str, ...]:
        """Every SQL expression that reads an event."""
        return (self.where,)

    @property
    def condition(self) -> str:
        """The condition that picks its events."""
        condition = f"event_type in ({', '.join(literal(event) for event in self.events)})"
        return f"{condition} and ({self.where})" if self.where else condition

    @property
    def filtered(self) -> str:
        """The clause that has an aggregate take its events only."""
        return f"filter (where {self.condition})"

    def _part(self, fold: str, merge: str, combine: str) -> tuple[Part, ...]:
        return (Part(f"_{self.name}", fold, merge, combine),)


@dataclass(frozen=True, slots=True)
class Count(Folded):
    """How many such events."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The number."""
        return self._part(f"count(*) {self.filtered}", "{0} + {1}", "sum({0})::bigint")


@dataclass(frozen=True, slots=True)
class _OfValue(Folded):
    value: str

    @property
    def expressions(self) -> tuple[str, ...]:
        """The value and the condition."""
        return (self.value, self.where)


@dataclass(frozen=True, slots=True)
class Sum(_OfValue):
    """The sum of a value; 0 where there is none."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The sum."""
        return self._part(f"coalesce(sum({self.value}) {self.filtered}, 0)", "{0} + {1}", "sum({0})")


@dataclass(frozen=True, slots=True)
class Minimum(_OfValue):
    """The smallest value."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The value."""
        return self._part(f"min({self.value}) {self.filtered}", "least({0}, {1})", "min({0})")


@dataclass(frozen=True, slots=True)
class Maximum(_OfValue):
    """The largest value."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The value."""
        return self._part(f"max({self.value}) {self.filtered}", "greatest({0}, {1})", "max({0})")


@dataclass(frozen=True, slots=True)
class Outermost(_OfValue):
    """The value of the first or of the last such event; null where that event has none.

    Columns of the same events share one part, which holds the values of all: see `outermost()`.
    """

    end: str

    @property
    def shared(self) -> tuple[str, tuple[str, ...], str]:
        """What columns that share a part have in common."""
        return (self.end, self.events, self.where)


@dataclass(frozen=True, slots=True)
class _Tallied(_OfValue):
    """Keeps how often each value came, so that any two partial results make one."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """The tally."""
        fold = f"read_models.tally(array_agg(({self.value})::text) {self.filtered})"
        return self._part(fold, "read_models.add_tallies({0}, {1})", "read_models.sum_tallies(array_agg({0}))")


@dataclass(frozen=True, slots=True)
class DistinctCount(_Tallied):
    """How many different values there are. State grows with them: it is for hundreds, not for millions."""

    @property
    def shown(self) -> str:
        """The number of values."""
        return f"read_models.tally_size(_{self.name})"


@dataclass(frozen=True, slots=True)
class Values(_Tallied):
    """The different values, in the order of their bytes."""

    @property
    def shown(self) -> str:
        """The values."""
        return f"read_models.tallied(_{self.name})"


@dataclass(frozen=True, slots=True)
class Top(_Tallied):
    """The most frequent values, most frequent first; of two that came equally often the first by its bytes."""

    places: int

    @property
    def shown(self) -> str:
        """The values."""
        return f"read_models.top(_{self.name}, {self.places})"


@dataclass(frozen=True, slots=True)
class Histogram(_OfValue):
    """How many values fell below the first bound, from there to the second, and so on, and past the last."""

    bounds: tuple[int, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The counts by bin."""
        bin_ = f"width_bucket(({self.value})::numeric, {array(self.bounds, 'numeric')})"
        fold = f"read_models.histogram(array_agg({bin_}) {self.filtered}, {len(self.bounds)})"
        return self._part(fold, "read_models.add_histograms({0}, {1})", "read_models.sum_histograms(array_agg({0}))")


@dataclass(frozen=True, slots=True)
class Fold(Folded):
    """The way out where no other kind will do: a call of an aggregate over the events of a key, folded again whole.

    Order-dependent aggregates must name the order, so that arrival decides nothing: `array_agg(x order by {ORDER})`.
    """

    aggregate: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """The result."""
        return (Part(f"_{self.name}", f"{self.aggregate} filter (where {self.condition})"),)

    @property
    def expressions(self) -> tuple[str, ...]:
        """The aggregate and the condition."""
        return (self.aggregate, self.where)


@dataclass(frozen=True, slots=True)
class Move:
    """A transition of a state machine: such an event leads from any of these states to that one."""

    event: str
    from_states: tuple[str, ...]
    to_state: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Machine(Folded):
    """A column that shows something of a state machine; all of one machine share its run. See `state_machine()`."""

    machine: str
    moves: tuple[Move, ...]
    states: tuple[str, ...]
    show: str

    @property
    def parts(self) -> tuple[Part, ...]:
        """The machine's run over the events of the key."""
        kinds = list(dict.fromkeys((move.event, move.where) for move in self.moves))
        numbers = ["", *self.states]
        targets = [0] * (len(numbers) * len(kinds))
        for move in self.moves:
            for state in move.from_states:
                targets[numbers.index(state) * len(kinds) + kinds.index((move.event, move.where))] = numbers.index(
                    move.to_state
                )
        cases = " ".join(
            f"when event_type = {literal(event)}{f' and ({where})' if where else ''} then {number}"
            for number, (event, where) in enumerate(kinds, 1)
        )
        case = f"(case {cases} end)::smallint"
        # Events of other types are passed over by the function, as a filter would cost each event another look.
        fold = (
            f"read_models.run_machine(array_agg({case} order by {ORDER}), array_agg(occurred_at order by {ORDER}), "
            f"{array(targets, 'smallint')}, {len(kinds)}, {len(self.states)})"
        )
        return (Part(f"_{self.machine}", fold),)

    @property
    def shown(self) -> str:
        """Its share of the run."""
        return self.show.format(f"(_{self.machine})")

    @property
    def expressions(self) -> tuple[str, ...]:
        """The conditions of all moves."""
        return tuple(move.where for move in self.moves)


def outermost(columns: Sequence[Outermost]) -> Part:
    """Return the part that these columns share, which are the first, or all the last, values of the same events."""
    first = columns[0]
    aggregate, pick = ("max", "greatest") if first.end == "last" else ("min", "least")
    values = ", ".join(column.value for column in columns)
    event = f"row(occurred_at, sequence, event_id, source, jsonb_build_array({values}))::read_models.ordered_event"
    # Arrays, as every server has min() and max() of those, and of rows only PostgreSQL 18 and newer.
    fold = f"{aggregate}(array[{event}]) filter (where {first.condition})"
    return Part(outermost_name(columns), fold, f"{pick}({{0}}, {{1}})", f"{aggregate}({{0}})")


def outermost_name(columns: Sequence[Outermost]) -> str:
    """Return the name of the part that these columns share."""
    return f"_{columns[0].end}__{columns[0].name}"


def outermost_shown(columns: Sequence[Outermost], column: Outermost) -> str:
    """Return how one of the columns that share a part is shown."""
    values_, place = f"(({outermost_name(columns)})[1]).data", columns.index(column)
    if column.type == "jsonb":  # as it is: written out and read again, the lines of all orders take seconds
        return f"nullif({values_} -> {place}, 'null')"
    return f"({values_} ->> {place})::{column.type}"


def count(name: str, description: str, *events: str, where: str = "") -> Count:
    """Declare a number of events."""
    return Count(name, "bigint", description, events, where=where)


def total(name: str, description: str, *events: str, value: str, where: str = "") -> Sum:
    """Declare a decimal sum."""
    return Sum(name, "numeric", description, events, value, where=where)


def minimum(name: str, kind: str, description: str, *events: str, value: str, where: str = "") -> Minimum:
    """Declare the smallest value."""
    return Minimum(name, kind, description, events, _plain(kind, value), where=where)


def maximum(name: str, kind: str, description: str, *events: str, value: str, where: str = "") -> Maximum:
    """Declare the largest value."""
    return Maximum(name, kind, description, events, _plain(kind, value), where=where)


def earliest(name: str, description: str, *events: str, where: str = "") -> Minimum:
    """Declare when something happened first (UTC)."""
    return Minimum(name, MOMENT, description, events, "occurred_at", where=where)


def latest(name: str, description: str, *events: str, where: str = "") -> Maximum:
    """Declare when something happened last (UTC)."""
    return Maximum(name, MOMENT, description, events, "occurred_at", where=where)


def first(name: str, kind: str, description: str, *events: str, value: str = "", where: str = "") -> Outermost:
    """Declare a value of the first event; the payload's field of the same name unless an expression is given."""
    return Outermost(name, kind, description, events, value or f"data ->> {literal(name)}", "first", where=where)


def last(name: str, kind: str, description: str, *events: str, value: str = "", where: str = "") -> Outermost:
    """Declare a value of the last event; the payload's field of the same name unless an expression is given."""
    return Outermost(name, kind, description, events, value or f"data ->> {literal(name)}", "last", where=where)


def distinct_count(name: str, description: str, *events: str, value: str, where: str = "") -> DistinctCount:
    """Declare a number of different values."""
    return DistinctCount(name, "bigint", description, events, value, where=where)


def values(name: str, description: str, *events: str, value: str, where: str = "") -> Values:
    """Declare a set of values."""
    return Values(name, "text[]", description, events, value, where=where)


def top(name: str, description: str, *events: str, value: str, places: int = 3, where: str = "") -> Top:
    """Declare the most frequent values."""
    return Top(name, "text[]", description, events, value, places, where=where)


def histogram(
    name: str, description: str, *events: str, value: str, bounds: tuple[int, ...], where: str = ""
) -> Histogram:
    """Declare counts by bin. A bin begins with its lower bound and ends before its upper one."""
    return Histogram(name, "bigint[]", description, events, value, bounds, where=where)


def percentile(name: str, description: str, of: Histogram, share: float) -> Derived:
    """Declare a percentile of a histogram: the upper bound of its bin; of the last bin, which has none, the lower."""
    bounds = array(of.bounds, "numeric")
    return Derived(name, "numeric", description, f"read_models.histogram_percentile({of.name}, {bounds}, {share})")


def ratio(name: str, description: str, numerator: str, denominator: str) -> Derived:
    """Declare a ratio of two folded columns; null where the lower one is 0."""
    return Derived(name, "numeric", description, f"{numerator}::numeric / nullif({denominator}, 0)")


def state_machine(name: str, states: Mapping[str, str], *moves: Move) -> tuple[Machine, ...]:
    """Declare a state machine: the state, since when, the time in each state, and the events that were not allowed.

    Args:
        name: the column that shows the state; the others are `<name>_since`, `seconds_in_<state>` and
            `invalid_transitions`.
        states: what each state means.
        moves: the transitions. "" is the state before the first event.
    """
    events = tuple(dict.fromkeys(move.event for move in moves))

    def column(name_: str, kind: str, description: str, show: str) -> Machine:
        return Machine(name_, kind, description, events, name, moves, tuple(states), show)

    meanings = "; ".join(f"{state}: {meaning}" for state, meaning in states.items())
    return (
        column(name, "text", meanings, f"({array(tuple(states), 'text')})[({{0}}).state]"),
        column(f"{name}_since", MOMENT, f"When it entered its {name} (UTC)", "({0}).since"),
        *(
            column(
                f"seconds_in_{state}", "numeric", f"Seconds it was {state}, in stays that have ended",
                f"({{0}}).seconds[{number}]",
            )
            for number, state in enumerate(states, 1)
        ),
        column(
            "invalid_transitions", "bigint", f"Events that its {name} did not allow; they changed nothing",
            "({0}).invalid",
        ),
    )  # fmt: skip


def _plain(kind: str, value: str) -> str:
    # 1.0 and 1.00 are equal, and which of the two came first must not show.
    return f"trim_scale({value})" if kind == "numeric" else value


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def array(values_: Sequence[object], kind: str) -> str:
    """Return an SQL array of texts or numbers."""
    items = ", ".join(literal(value) if isinstance(value, str) else str(value) for value in values_)
    return f"array[{items}]::{kind}[]"
