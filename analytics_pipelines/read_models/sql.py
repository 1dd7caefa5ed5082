"""What a declaration compiles to.

Defines the fold (a query over a range of the log), the merge of two partial folds, the table that keeps the state, and
the view that people read. All from the same declaration, so that they cannot disagree.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from analytics_pipelines.read_models.declaration import Count, Derived, Earliest, Last, Latest, Sum

if TYPE_CHECKING:
    from analytics_pipelines.read_models.declaration import Folded, ReadModel

_ORDER = "occurred_at desc, sequence desc, event_id desc, source desc"
_ORDER_KEY = "row(occurred_at, sequence, event_id, source)::read_models.event_order"


def version(model: ReadModel) -> str:
    """Return eight hexadecimal digits that change whenever the declaration means something else."""
    return hashlib.sha256((fold(model) + view(model, "")).encode()).hexdigest()[:8]


def table(model: ReadModel) -> str:
    """Return the name of the table that keeps the state of this version of the model."""
    return f"read_models.{model.name}__v{version(model)}"


def fold(model: ReadModel) -> str:
    """Return the query that folds the events in `(%(after)s, %(up_to)s]` into one row per tenant and key.

    `%(slices)s` and `%(slice)s` keep every so-many-th key only: 1 and 0 for all.
    """
    key = _key(model)
    columns = _lines(
        [*(f"{_aggregate(column)} as {column.name}" for column in model.folded), *_order_aggregates(model)]
    )
    return f"""
select
    tenant_id,
    {key} as {model.key},
    {columns}
from event_log.events
where position > %(after)s and position <= %(up_to)s
    and event_type in ({_list(model.events)})
    and {key} is not null
    and (%(slices)s = 1 or abs(hashtext({key})::bigint) %% %(slices)s = %(slice)s)
group by tenant_id, {key}"""


def merge(model: ReadModel) -> str:
    """Return the statement that folds a range of the log into the state."""
    state = ["tenant_id", model.key, *(column.name for column in model.folded), *_order_columns(model)]
    updates = [f"{column.name} = {_merged(column)}" for column in model.folded]
    updates += [f"{name} = greatest(state.{name}, excluded.{name})" for name in _order_columns(model)]
    return f"""
insert into {table(model)} as state ({", ".join(state)})
{fold(model)}
on conflict (tenant_id, {model.key}) do update set
    {_lines(updates)}"""


def view(model: ReadModel, source: str) -> str:
    """Return the query that people read through: the columns in declared order, derived ones computed."""
    columns = [f"{c.expression} as {c.name}" if isinstance(c, Derived) else c.name for c in model.columns]
    return f"select tenant_id, {model.key}, {', '.join(columns)} from {source}"


def _lines(lines: list[str]) -> str:
    return ",\n    ".join(lines)


def _key(model: ReadModel) -> str:
    if not model.keys:
        return f"(data ->> '{model.key}')"
    cases = " ".join(f"when '{event}' then data ->> '{field}'" for event, field in sorted(model.keys.items()))
    return f"(case event_type {cases} else data ->> '{model.key}' end)"


def _aggregate(column: Folded) -> str:
    only = _filter(column.events)
    match column:
        case Count():
            return f"count(*) {only}"
        case Sum():
            return f"coalesce(sum({column.value}) {only}, 0)"
        case Last():
            return f"(array_agg({column.value} order by {_ORDER}) {only})[1]"
        case Earliest():
            return f"min(occurred_at) {only}"
        case Latest():
            return f"max(occurred_at) {only}"
        case _:
            raise TypeError(column)


def _merged(column: Folded) -> str:
    name = column.name
    match column:
        case Count() | Sum():
            return f"state.{name} + excluded.{name}"
        case Last():
            newer = _order_column(column)
            return (
                f"case when state.{newer} is null or excluded.{newer} > state.{newer} "
                f"then excluded.{name} else state.{name} end"
            )
        case Earliest():
            return f"least(state.{name}, excluded.{name})"
        case Latest():
            return f"greatest(state.{name}, excluded.{name})"
        case _:
            raise TypeError(column)


def _order_column(column: Last) -> str:
    return "_last_" + "_".join(column.events)


def _order_columns(model: ReadModel) -> list[str]:
    return sorted({_order_column(column) for column in model.folded if isinstance(column, Last)})


def _order_aggregates(model: ReadModel) -> list[str]:
    events = {_order_column(column): column.events for column in model.folded if isinstance(column, Last)}
    return [
        f"(array_agg({_ORDER_KEY} order by {_ORDER}) {_filter(events[name])})[1] as {name}" for name in sorted(events)
    ]


def _filter(events: tuple[str, ...]) -> str:
    return f"filter (where event_type in ({_list(events)}))"


def _list(events: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"'{event}'" for event in events)
