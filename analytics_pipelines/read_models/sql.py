"""What a declaration compiles to.

Defines the statements of all uses: the fold over a range of the log, the merge into the state, the re-fold of touched
keys, and the view that people read. All from the same declaration, so that they cannot disagree.

Named parameters: `after` and `up_to`, the range of positions.
"""

from __future__ import annotations

import hashlib
from statistics import mode
from typing import TYPE_CHECKING

from analytics_pipelines.read_models.columns import Derived, literal
from analytics_pipelines.read_models.declaration import STREAMS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.read_models.versions import Version

LOG = "event_log.events"
NEW = "position > %(after)s and position <= %(up_to)s"
_ENVELOPE = (
    "tenant_id", "position", "source", "event_id", "stream_id", "event_type", "sequence", "occurred_at", "recorded_at",
    "data",
)  # fmt: skip
ENVELOPE = ", ".join(_ENVELOPE)
DAY = "(occurred_at at time zone 'UTC')::date"

# Partial results are kept by day of event time and by block of the log: a late event would widen a day over months of
# the log. They know where their events lie and when they were recorded, so that `as-of` can tell which it may take
# whole, and read again those it may not.
BLOCK_POSITIONS = 65536
BLOCK = f"position / {BLOCK_POSITIONS}"
BY_DAY = {"day": DAY, "block": BLOCK}
DAY_BOUNDS = {
    "first_position": "min(position)",
    "last_position": "max(position)",
    "first_occurred_at": "min(occurred_at)",
    "last_occurred_at": "max(occurred_at)",
    "first_recorded_at": "min(recorded_at)",
    "last_recorded_at": "max(recorded_at)",
}


def version(model: ReadModel) -> str:
    """Return eight hexadecimal digits that change whenever the declaration means something else."""
    meaning = fold(model) + view(model, "") + (fold_by_day(model) if model.by_day else "")
    return hashlib.sha256(meaning.encode()).hexdigest()[:8]


def table(model: ReadModel) -> str:
    """Return the name of the table that keeps the state of this version of the model."""
    return f"read_models.{model.name}__v{version(model)}"


def days(model: ReadModel) -> str:
    """Return the name of the table that keeps this version's partial results by day."""
    return f"{table(model)}__days"


def events(model: ReadModel, where: str, log: str = LOG) -> str:
    """Return the query for the model's events, a row for each key that an event is about, with its key columns.

    Args:
        model: the model.
        where: the condition on the log's columns.
        log: where the events are read from: the log, or a relation with the columns `ENVELOPE`.
    """
    plain = [event for event in model.events if event not in model.each]
    queries = [_events(model, plain, "null::jsonb", "", where, log)] if plain else []
    for event, items in model.each.items():
        elements = f"cross join lateral jsonb_array_elements(data -> {literal(items)}) as each (item)"
        queries.append(_events(model, [event], "item", elements, where, log))
    return "\nunion all\n".join(queries)


def _events(model: ReadModel, types: list[str], item: str, each: str, where: str, log: str) -> str:  # noqa: PLR0913, PLR0917
    keys = [f"{_key(model, types, place)} as {name}" for place, name in enumerate(model.key)]
    types_ = ", ".join(literal(event) for event in types)
    return f"""select {ENVELOPE}, {_escaped(item)} as item, {", ".join(keys)}
from {log} {_escaped(each)}
where event_type in ({types_}) and {where}"""


def _key(model: ReadModel, types: list[str], place: int) -> str:
    expressions = {event: model.key_of(event)[place] for event in types}
    most = mode(expressions.values())  # what most types share goes last: each comparison before it costs every event
    cases = [f"when {literal(event)} then {key}" for event, key in expressions.items() if key != most]
    return _escaped(f"(case event_type {' '.join(cases)} else {most} end)" if cases else f"({most})")


def keys(model: ReadModel) -> str:
    """Return what identifies a row: tenant and key columns."""
    return ", ".join(["tenant_id", *model.key])


def fold(model: ReadModel, where: str = NEW, log: str = LOG, *, streams: bool = True) -> str:
    """Return the query that folds events into one row of state per tenant and key.

    Args:
        model: the model.
        where: the condition on the log's columns.
        log: where the events are read from.
        streams: also find the streams of each key; what is only to be shown needs them not.
    """
    return fold_of(model, f"({events(model, where, log)}) as events", streams=streams)


def fold_of(model: ReadModel, source: str, *, by_day: bool = False, where: str = "", streams: bool = True) -> str:
    """Return the query that folds what `events()` gives into a row for each key, or for each key, day and block.

    What merges, and is not kept by day, is folded by key and stream first: so it is known which streams a key has.

    Args:
        model: the model.
        source: what is read.
        by_day: whether to keep days and blocks of the log apart.
        where: which keys; all that are there unless given. It must not hold for a missing one.
        streams: also find the streams of each key.
    """
    parts = _lines(f"{_escaped(part.fold)} as {part.name}" for part in model.parts if streams or part.name != STREAMS)
    bounds = "".join(f",\n    {bound} as _{name}" for name, bound in DAY_BOUNDS.items()) if by_day else ""
    present = where or " and ".join(f"{name} is not null" for name in model.key)
    further = BY_DAY if by_day else {}
    by_stream = streams and model.is_mergeable and not model.by_day
    named = ", ".join([keys(model), *(f"{expression} as {name}" for name, expression in further.items())])
    grouped = ", ".join([keys(model), *further.values(), *(["stream_id"] if by_stream else [])])
    folded = f"""select {named},
    {parts}{bounds}
from {source}
where {present}
group by {grouped}"""
    return combine(model, f"(\n{folded}\n) as by_stream") if by_stream else folded


def fold_at_once(model: ReadModel) -> str:
    """Return the fold, by day where the model keeps that, as the server works on two parts of it at once, from zero.

    Each part has half of the keys, by their hash.

    Left to itself, Postgres gives each worker a part of the events, and then puts together what all of them found of
    each key: that took 1.6 times as long for keys of ten events. A missing key has no hash and is in neither half;
    asking for it, too, would take it out of the data once more. Two, as many as Postgres by default puts workers to one
    query: each of them reads all events.
    """
    source = f"({events(model, NEW)}) as events"
    return "\nunion all\n".join(fold_of(model, source, by_day=model.by_day, where=half) for half in _halves(model))


def combine_at_once(model: ReadModel) -> str:
    """Return the query that makes the state of what is kept by day, two parts of it at once."""
    return "\nunion all\n".join(combine(model, f"{days(model)}\nwhere {half}") for half in _halves(model))


def _halves(model: ReadModel) -> tuple[str, str]:
    key = " || '/' || ".join(model.key)
    return f"hashtext({key}) < 0", f"hashtext({key}) >= 0"


def fold_by_day(model: ReadModel, where: str = NEW, log: str = LOG) -> str:
    """Return the query that folds events into one row of state per tenant, key, day of event time (UTC) and block."""
    return fold_of(model, f"({events(model, where, log)}) as events", by_day=True)


def combine(model: ReadModel, source: str) -> str:
    """Return the query that makes one row of state per tenant and key of partial results."""
    parts = _lines(f"{(part.combine or '').format(part.name)} as {part.name}" for part in model.parts)
    return f"select {keys(model)},\n    {parts}\nfrom {source}\ngroup by {keys(model)}"


def view(model: ReadModel, source: str) -> str:
    """Return the query that people read through: the columns in declared order, for the driver with parameters."""
    shown = [f"({_escaped(model.shown(column))})::{column.type} as {column.name}" for column in model.folded]
    columns = [
        f"({_escaped(c.expression)})::{c.type} as {c.name}" if isinstance(c, Derived) else c.name for c in model.columns
    ]
    folded = f"select {keys(model)}, {', '.join(shown)} from {source}"
    return f"select {keys(model)}, {', '.join(columns)} from ({folded}) as folded"


def steps(model: ReadModel, log: str = LOG, where: str = NEW) -> list[tuple[str, str]]:
    """Return the named steps, as common table expressions, that bring the state up to a position.

    The last one, `<model>_touched`, gives the keys that it changed.
    """
    returning = f"\nreturning {keys(model)}"
    if not model.is_mergeable:
        return [(f"{model.name}_touched", _refold(model, log, where) + returning)]
    if not model.by_day:
        return [(f"{model.name}_touched", _upsert(model, table(model), fold(model, where, log)) + returning)]
    partial = f"{model.name}_partial"
    return [
        (partial, fold_by_day(model, where, log)),
        (f"{model.name}_days", _upsert_days(model, f"select * from {partial}")),
        (f"{model.name}_touched", _upsert(model, table(model), combine(model, partial)) + returning),
    ]


def _upsert(model: ReadModel, target: str, query: str) -> str:
    names = ", ".join(part.name for part in model.parts)
    updates = _lines(
        f"{part.name} = {(part.merge or '{1}').format(f'state.{part.name}', f'excluded.{part.name}')}"
        for part in model.parts
    )
    return f"""insert into {target} as state ({keys(model)}, {names})
{query}
on conflict ({keys(model)}) do update set
    {updates}"""


def _upsert_days(model: ReadModel, query: str) -> str:
    names = [part.name for part in model.parts]
    bounds = [f"_{name}" for name in DAY_BOUNDS]
    updates = [
        f"{part.name} = {(part.merge or '').format(f'state.{part.name}', f'excluded.{part.name}')}"
        for part in model.parts
    ]
    updates += [
        f"{name} = {'least' if name.startswith('_first') else 'greatest'}(state.{name}, excluded.{name})"
        for name in bounds
    ]
    return f"""insert into {days(model)} as state ({", ".join([keys(model), *BY_DAY, *names, *bounds])})
{query}
on conflict ({", ".join([keys(model), *BY_DAY])}) do update set
    {_lines(updates)}"""


def refolded(model: ReadModel, touched: str, up_to: str = "position <= %(up_to)s", log: str = LOG) -> str:
    """Return the query that folds some keys again, from their first event on.

    Args:
        model: the model.
        touched: a relation of the keys, with `streams`: the names of those that their events lie in. Where these are
            not known, the log is read.
        up_to: the condition on the log's columns.
        log: where the events are read from.
    """
    # The exists() keeps the planner from a scan for no key at all.
    return fold_of(
        model,
        f"""(
    {_in_known_streams(model, touched, up_to, log)}
    union all
    select found.* from ({events(model, up_to, log)}) as found
    join {touched} as touched on {_same(model)}
    where touched.streams is null and (select exists (select from {touched} where streams is null))
) as events""",
    )


def refolded_by_parts(model: ReadModel, touched: str) -> str:
    """Return the query that makes the rows of some keys anew without reading the whole log.

    They are folded from their streams; keys of which these are not known are left out. Those of a model that is kept by
    day are put together of its days.
    """
    if model.by_day:
        of_key = f"(select days.* from {days(model)} as days join {touched} using ({keys(model)}))"
        return combine(model, f"{of_key} as kept")
    return fold_of(model, f"({_in_known_streams(model, touched, 'position <= %(up_to)s', LOG)}) as events")


def _in_known_streams(model: ReadModel, touched: str, up_to: str, log: str) -> str:
    # Each stream is read once, however many keys lie in it: read for each key, 1,000 orders of two shared streams took
    # 10 s. The keys go with it as a set: as a join they are compared with each event where Postgres expects few of them
    # (the set-up of the tests of the warehouse's source truth took nine minutes), as a subquery where it expects many.
    return f"""select found.* from (
        select keys.tenant_id as of_tenant, names.name, jsonb_object_agg({_coded(model, "keys")}, true) as coded
        from {touched} as keys cross join lateral unnest(keys.streams) as names (name)
        group by keys.tenant_id, names.name
    ) as known
    cross join lateral ({events(model, up_to, in_stream("known.of_tenant", "known.name", log))}) as found
    where known.coded ? {_coded(model, "found")}"""


def _coded(model: ReadModel, relation: str) -> str:
    """Return the key as one text, which no other key has; null without one of its columns."""
    *first, last = (f"{relation}.{name}" for name in model.key)
    return "(" + " || ".join([*(f"length({name}) || ':' || {name}" for name in first), last]) + ")"


def _same(model: ReadModel) -> str:
    return " and ".join(f"found.{name} = touched.{name}" for name in ["tenant_id", *model.key])


def in_stream(tenant: str, stream: str, log: str = LOG) -> str:
    """Return the relation of one stream's events, read through the stream's index.

    OFFSET 0 fences it off, lest the planner prefers the index over types and positions. The collation is the index's:
    another one rules it out, and the whole log is read for every key (3,000 events took 75 s).
    """
    same = f'{stream} collate "default"'
    return f"(select {ENVELOPE} from {log} where tenant_id = {tenant} and stream_id = {same} offset 0) as stream"


def touched(model: ReadModel, log: str = LOG, where: str = NEW) -> str:
    """Return the common table expressions of the keys that events touch.

    `new` has each of them, with the streams of these events; `touched`, with all streams of the key.
    """
    present = " and ".join(f"{name} is not null" for name in model.key)
    return f"""new as (
    select {keys(model)}, array_agg(distinct stream_id) as streams
    from ({events(model, where, log)}) as events where {present} group by {keys(model)}
), touched as materialized (
    select {keys(model)}, {streams_with(model, "new.streams")} as streams
    from new left join {table(model)} as live using ({keys(model)})
)"""


def streams_with(model: ReadModel, further: str) -> str:
    """Return the expression for all streams of a key: those of its row, if `live` has one, and further ones."""
    merged = model.merged_streams.format("live._streams", further)
    return f"case when live.tenant_id is null then {further} else {merged} end"


def _refold(model: ReadModel, log: str, where: str) -> str:
    names = ", ".join(part.name for part in model.parts)
    updates = _lines(f"{part.name} = excluded.{part.name}" for part in model.parts)
    return f"""with {touched(model, log, where)}
insert into {table(model)} ({keys(model)}, {names})
{refolded(model, "touched")}
on conflict ({keys(model)}) do update set
    {updates}"""


def together(versions: Iterable[Version]) -> str:
    """Return the one statement that brings several models up to a position, reading the new events once.

    It notes the touched keys in `progress.touched` and gives one row: how many there are of each model, in order.
    """
    versions = list(versions)
    types = sorted({event for version in versions for event in version.events})
    read = f"select {ENVELOPE} from {LOG} where event_type in ({', '.join(map(literal, types))}) and {NEW}"
    named = [("new_events", f"materialized ({read})")]
    for version in versions:
        named += [(name, f"({query})") for name, query in version.steps]
    named += [("changed", f"materialized (\n{_changed(versions)}\n)"), ("noted", f"(\n{_noted(versions)}\n)")]
    clauses = ",\n".join(f"{name} as {query}" for name, query in named)
    counts = ", ".join(f"(select count(*) from {version.name}_touched)" for version in versions)
    return f"with {clauses}\nselect {counts}"


def _changed(versions: Iterable[Version]) -> str:
    changes = [
        f"select {literal(version.public)} as model, progress.note_change({literal(version.public)}) as change "
        f"where exists (select from {version.name}_touched)"
        for version in versions
    ]
    return "\nunion all\n".join(changes)


def _noted(versions: Iterable[Version]) -> str:
    """Return the insert of the touched keys, each key column for itself."""
    keys_ = [
        f"select{' distinct' if kinds[1:] else ''} {literal(version.public)} as model, "
        f"{literal(kind)} as kind, tenant_id, {kind}::text as key from {version.name}_touched"
        for version in versions
        for kinds in [version.key[1:]]
        for kind in kinds
    ]
    every = "\nunion all\n".join(keys_)
    return f"""insert into progress.touched (model, kind, tenant_id, key, change, position)
select model, kind, tenant_id, key, change, %(up_to)s from ({every}) as keys join changed using (model)
on conflict (model, kind, tenant_id, key) do update set change = excluded.change, position = excluded.position"""


def _lines(lines: Iterable[str]) -> str:
    return ",\n    ".join(lines)


def _escaped(expression: str) -> str:
    # The driver takes a single percent sign for a parameter.
    return expression.replace("%", "%%")
