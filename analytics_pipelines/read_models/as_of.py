"""What a read model said at a moment: one row of it, and what changed between two moments.

Defines `as_of`, its statement `of_streams`, and `changes`. All fold events by the model's own declaration, up to the
position that its live rows stand at, and no further: what a row was can be compared with what it is. A moment is
inclusive, and either event time or log time. A whole model as of a moment is `table_function.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, LiteralString, TypeAlias, cast

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.cloud_events import exact_json
from analytics_pipelines.event_log.reading import require_known_tenant
from analytics_pipelines.read_models import sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel

Axis: TypeAlias = Literal["event-time", "log-time"]
Row: TypeAlias = "dict[str, Any]"

AXES: dict[Axis, str] = {"event-time": "occurred_at", "log-time": "recorded_at"}
"""The column of the log that each kind of time is read from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A row as of a moment.

    Attributes:
        position: events up to this position of the log are counted.
        row: the row, by column; None if the key had no event by then.
    """

    position: int
    row: Row | None


@dataclass(frozen=True, slots=True)
class Change:
    """How a row changed.

    Attributes:
        key: which row, by key column.
        appeared: whether it was not there before.
        columns: the columns that differ, each with what it was and what it became.
    """

    key: dict[str, str]
    appeared: bool
    columns: dict[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed between two moments.

    Attributes:
        position: events up to this position of the log are counted.
        appeared: how many rows were not there at the first moment.
        changed: how many were, and are different at the second.
        rows: some of them, in the order of their keys.
    """

    position: int
    appeared: int
    changed: int
    rows: list[Change]


def as_of(  # noqa: PLR0913 - a question in full
    connection: Connection,
    model: ReadModel,
    tenant_id: str,
    key: Sequence[str],
    at: datetime,
    *,
    by: Axis = "event-time",
) -> Answer:
    """Return one row as it was.

    Where the names of the key's streams are kept, only these are read. Otherwise, where the model keeps partial results
    by day, these are put together, and only those that the moment cuts are read from the log; elsewhere the tenant's
    log is read.

    Args:
        connection: a session. Its transaction reads one snapshot if it is repeatable read.
        model: the model.
        tenant_id: whose row.
        key: a value for each of the model's key columns.
        at: the moment, inclusive.
        by: whether that is when events occurred, or when they were recorded.

    Raises:
        PipelinesError: the model was not built yet, the key has another number of columns, or the tenant no events.
    """
    if len(key) != len(model.key):
        raise PipelinesError(
            f"{model.name} is keyed by {', '.join(model.key)}: give {len(model.key)} value(s), not {len(key)}"
        )
    arguments = {"tenant_id": tenant_id, "at": at, "reader": sql.table(model)}
    arguments |= {f"key_{place}": value for place, value in enumerate(key)}
    position, is_scattered, text = _one(connection, model, of_streams(model, by), arguments)
    if is_scattered:
        state = _of_days(model, by) if model.by_day else _of_log(model, by)
        (text,) = _one(connection, model, f"select {_shown(model, state)}", {**arguments, "up_to": position})
    if text is None:
        require_known_tenant(connection, tenant_id)
    return Answer(position or 0, _row(text))


def of_streams(model: ReadModel, by: Axis) -> str:
    """Return the statement of `as_of` that reads the key's streams, or tells that their names are not kept.

    Its parameters: tenant_id, at, reader (the model's checkpoint) and key_0, key_1, ...
    """
    where = f"position <= (select position from here) and {AXES[by]} <= %(at)s"
    log = f"""(
    select stream.* from live cross join lateral unnest(_streams) as known (name)
    cross join lateral {sql.in_stream("%(tenant_id)s", "known.name")}
) as log"""
    return f"""with here as materialized (
    select position from progress.checkpoints where tenant_id = '*' and reader = %(reader)s
), live as materialized (
    {_of_key(model, sql.table(model))}
)
select (select position from here), (select _streams is null from live),
    {_shown(model, _of_key(model, f"({sql.fold(model, where, log, streams=False)})"))}"""


def changes(  # noqa: PLR0913 - a question in full
    connection: Connection,
    model: ReadModel,
    tenant_id: str,
    at: datetime,
    to: datetime,
    *,
    key: Sequence[str] = (),
    by: Axis = "event-time",
    limit: int = 20,
) -> Changes:
    """Return what changed in a model after one moment and up to another.

    Args:
        connection: a session, as for `as_of`.
        model: the model.
        tenant_id: whose rows.
        at: the first moment, inclusive.
        to: the second, inclusive, not before the first.
        key: only the row of this key; all rows unless given.
        by: whether moments are when events occurred, or when they were recorded.
        limit: how many rows to return at most, of all that are counted.

    Raises:
        PipelinesError: as for `as_of`; or the second moment is before the first.
    """
    if to < at:
        raise PipelinesError(f"{to.isoformat()} is before {at.isoformat()}: give the earlier moment first")
    if key:
        before = as_of(connection, model, tenant_id, key, at, by=by)
        after = as_of(connection, model, tenant_id, key, to, by=by)
        if after.row is None or before.row == after.row:
            return Changes(after.position, 0, 0, [])
        change = _change(model, before.row, after.row)
        return Changes(after.position, int(change.appeared), int(not change.appeared), [change])
    here = "select position from progress.checkpoints where tenant_id = '*' and reader = %(reader)s"
    arguments: dict[str, Any] = {"tenant_id": tenant_id, "reader": sql.table(model), "at": at, "to": to, "limit": limit}
    (position,) = _one(connection, model, f"select ({here})", arguments)
    arguments["up_to"] = position
    rows = _execute(connection, model, _changes(model, by), arguments).fetchall()
    if not rows:
        require_known_tenant(connection, tenant_id)
        return Changes(position or 0, 0, 0, [])
    found = [_change(model, _row(before), cast("Row", _row(after))) for _, _, before, after in rows]
    return Changes(position, rows[0][0], rows[0][1] - rows[0][0], found)


def _of_key(model: ReadModel, query: str) -> str:
    """Return the query for what another says of the asked key."""
    conditions = ["tenant_id = %(tenant_id)s", *(f"{name} = %(key_{place})s" for place, name in enumerate(model.key))]
    return f"select * from {query} as of_key where {' and '.join(conditions)}"


def _shown(model: ReadModel, state: str) -> str:
    """Return the expression for the row that a query of state shows, as JSON."""
    return f"(select row_to_json(shown)::text from ({sql.view(model, f'({state}) as state')}) as shown)"


def _of_log(model: ReadModel, by: Axis) -> str:
    where = f"position <= %(up_to)s and tenant_id = %(tenant_id)s and {AXES[by]} <= %(at)s"
    return _of_key(model, f"({sql.fold(model, where, streams=False)})")


def _of_days(model: ReadModel, by: Axis) -> str:
    """Return the query that takes partial results whole where it may, and folds the events of the others again."""
    is_whole = f"_last_{AXES[by]} <= %(at)s and _last_position <= %(up_to)s"
    is_cut = f"_first_{AXES[by]} <= %(at)s and _first_position <= %(up_to)s and not ({is_whole})"
    days = _of_key(model, sql.days(model))
    names = ", ".join([sql.keys(model), *(part.name for part in model.parts)])
    # Each block is read once, however many of its days are cut.
    log = f"""(
    select found.* from (
        select block, min(_first_position) as first, max(_last_position) as last, array_agg(day) as days
        from ({days}) as days where {is_cut} group by block
    ) as cut
    cross join lateral (
        select {sql.ENVELOPE} from event_log.events
        where position between cut.first and cut.last and tenant_id = %(tenant_id)s and {sql.DAY} = any(cut.days)
        offset 0
    ) as found
) as log"""
    again = _of_key(model, f"({sql.fold(model, f'position <= %(up_to)s and {AXES[by]} <= %(at)s', log)})")
    return sql.combine(
        model, f"((select {names} from ({days}) as days where {is_whole}) union all ({again})) as partial"
    )


def _changes(model: ReadModel, by: Axis) -> str:
    """Return the statement for the rows that events between the two moments touched, before and after."""
    axis, keys = AXES[by], sql.keys(model)
    between = f"""position <= %(up_to)s and tenant_id = %(tenant_id)s and {axis} > %(at)s and {axis} <= %(to)s"""

    def then(moment: str) -> str:
        up_to = f"position <= %(up_to)s and {axis} <= %({moment})s"
        return sql.view(model, f"({sql.refolded(model, 'touched', up_to)}) as state")

    return f"""with touched as materialized (
    select {keys}, _streams as streams
    from (select distinct {keys} from ({sql.events(model, between)}) as events) as new
    join {sql.table(model)} using ({keys})
), earlier as ({then("at")}), later as ({then("to")})
select count(*) filter (where earlier.tenant_id is null) over (), count(*) over (),
    row_to_json(earlier)::text, row_to_json(later)::text
from later left join earlier using ({keys})
where to_jsonb(earlier) is distinct from to_jsonb(later)
order by {keys}
limit %(limit)s"""


def _change(model: ReadModel, before: Row | None, after: Row) -> Change:
    key = {name: after[name] for name in model.key}
    earlier = before or dict.fromkeys(after)
    differing = (name for name in after if name not in {"tenant_id", *key} and earlier[name] != after[name])
    return Change(key, before is None, {name: (earlier[name], after[name]) for name in differing})


def _one(connection: Connection, model: ReadModel, query: str, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    row = _execute(connection, model, query, arguments).fetchone()
    assert row is not None
    return row


def _execute(connection: Connection, model: ReadModel, query: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401
    try:
        return connection.execute(pg.SQL(cast("LiteralString", query)), arguments)
    except errors.UndefinedTable:
        raise PipelinesError(
            f"read model {model.name} was not built yet as it is declared now; run `pipelines rebuild {model.name}`"
        ) from None


def _row(text: str | None) -> Row | None:
    """Read a row from JSON; numbers keep every digit."""
    return None if text is None else cast("Row", exact_json(text.encode()))
