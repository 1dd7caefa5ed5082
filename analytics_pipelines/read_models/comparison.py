"""Live rows of a read model against a replay of the log.

Defines `differences` (replay and compare) and `repair` (replay and put right what differs).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models import sql, versions
from analytics_pipelines.read_models.versions import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel

SHOWN = 5
RANGES = 256
"""Into how many ranges, by the hash of the key, rows are parted to be compared."""
OLD_FOR_NEW, FEW_OLD = 50, 100_000
"""How many events of the past, or rows by day, may be read to compare what new events touched: for each of these, and
in any case.

With a thousand million events a run would otherwise read for hours what ten thousand new ones touch.
"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a replay showed of live rows.

    Attributes:
        keys: how many keys were compared.
        differing: some of those that differ, as `tenant/key`.
        left_out: how many touched keys were not compared, as that would take too long.
    """

    keys: int
    differing: list[str]
    left_out: int = 0


def differences(connection: Connection, model: ReadModel | Version, *, after: int | None = None) -> Comparison:
    """Replay the model from zero to its checkpoint and compare it with the live rows.

    Rows are compared by a hash of each range of keys first, and by key in the ranges where hashes differ. All must be
    read as of one moment: where others may advance the model, in a transaction that is at least repeatable read.

    Args:
        connection: a session.
        model: the model, or a version of it.
        after: compare only the keys that events past this position touch, and never read the whole log: keys are
            folded from their streams, or, where the model is kept by day, put together of their days, of which those
            in the blocks of these events are folded. Where their streams or days were too long (see `OLD_FOR_NEW`),
            some of the keys are picked, other ones each time. None compares all keys.
    """
    version = model if isinstance(model, Version) else versions.declared(model)
    arguments = {"after": after or 0, "up_to": progress.position_of(connection, version.table)}
    state, days = _state(version), _days(version)
    if after is None:
        found = _compare(connection, state, state.live, state.replay, arguments)
        if version.by_day and not found.differing:
            found = replace(found, differing=_compare(connection, days, days.live, days.replay, arguments).differing)
        return found
    query = f"create temporary table touched on commit drop as with {version.touched} select * from touched"
    touched = connection.execute(_sql(query), arguments).rowcount
    _pick(connection, version, max(FEW_OLD, OLD_FOR_NEW * (arguments["up_to"] - after)), arguments["up_to"])
    key = ", ".join(version.key)
    found = _compare(connection, state, f"{state.live} join touched using ({key})", version.refold, arguments)
    if version.by_day and found.keys and not found.differing:
        # All that is kept of the blocks in which the new events lie.
        first = (after + 1) // sql.BLOCK_POSITIONS
        arguments["after"] = first * sql.BLOCK_POSITIONS - 1
        live = f"{days.live} join touched using ({key}) where block >= {first}"
        replay = f"select {days.columns} from ({version.by_day}) as by_day join touched using ({key})"
        found = replace(found, differing=_compare(connection, days, live, replay, arguments).differing)
    connection.execute("drop table touched")
    return replace(found, left_out=touched - found.keys)


def _pick(connection: Connection, version: Version, most: int, seed: int) -> None:
    """Leave as many keys in `touched` as can be made anew from so many events, or rows by day; with each seed others.

    A key weighs what its streams have events, those that others share as well. Of days it is taken to have as many as
    the others.
    """
    if version.by_day:
        row = connection.execute(
            "select sum(reltuples) filter (where oid = to_regclass(%(days)s)) "
            "/ greatest(sum(reltuples) filter (where oid = %(table)s::regclass), 1) "
            "from pg_class where oid in (%(table)s::regclass, to_regclass(%(days)s))",
            {"table": version.table, "days": version.days},
        ).fetchone()
        weight = str(max(1, round(row[0] or 1) if row else 1))
    elif connection.execute(
        "select from pg_attribute where attrelid = 'pg_temp.touched'::regclass and attname = 'streams'"
    ).rowcount:
        weight = """case when streams is not null then (
            select coalesce(sum(head.version), 0) from unnest(streams) as known (name)
            join event_log.streams as head on head.tenant_id = touched.tenant_id and head.stream_id = known.name
        ) end"""
    else:  # a version of a former release, whose re-fold reads what it needs
        return
    connection.execute(
        _sql(f"""with weighed as (
            select ctid as place, {weight} as weight, hashtextextended({_named(version.key)}, %(seed)s) as chance
            from touched
        ), picked as (
            select place from (
                select place, sum(weight) over (order by chance, place) as together
                from weighed where weight <= %(most)s
            ) as light where together <= %(most)s
        )
        delete from touched where not exists (select from picked where picked.place = touched.ctid)"""),
        {"most": most, "seed": seed},
    )
    connection.execute("analyze touched")


def repair(connection: Connection, version: Version, *, tenant: str = "", key: str = "") -> tuple[int, list[str]]:
    """Replay the model to its checkpoint and replace the rows that differ, all others stay as they are.

    Returns how many keys were put right, and some of them. Others advance the model after this transaction.

    Args:
        connection: a session.
        version: the version.
        tenant: with `key`, the one row to look at; all unless given.
        key: its key; of several columns, joined by `/`.
    """
    arguments = {"after": 0, "up_to": progress.read_checkpoint(connection, version.table), "tenant": tenant, "key": key}
    one = f"where tenant_id = %(tenant)s and {_named(version.key[1:])} = %(key)s" if key else ""
    found: list[tuple[int, list[str]]] = []
    for rows in [_state(version), *([_days(version)] if version.by_day else [])]:
        connection.execute(
            _sql(
                f"create temporary table replayed on commit drop as "
                f"select {rows.columns} from ({rows.replay}) as replay {one}"
            ),
            arguments,
        )
        live = f"(select {rows.columns} from {rows.table} {one}) as live"
        there = connection.execute(
            _sql(f"select exists (select from replayed) or exists (select from {live})"), arguments
        ).fetchone()
        if key and there == (False,):
            raise PipelinesError(
                f"{version.name} has no row {key} of {tenant}, and the log no event of it; correct the name"
            )
        connection.execute(
            _sql(f"create temporary table wrong on commit drop as {_unequal(rows, live, 'replayed')}"), arguments
        )
        same = " and ".join(f"target.{name} = wrong.{name}" for name in rows.key)
        connection.execute(_sql(f"delete from {rows.table} as target using wrong where {same}"))
        connection.execute(
            _sql(
                f"insert into {rows.table} ({rows.columns}) "
                f"select {rows.columns} from replayed join wrong using ({', '.join(rows.key)})"
            )
        )
        wrong = connection.execute(
            _sql(f"select {_named(version.key)}, count(*) over () from wrong group by 1 order by 1 limit {SHOWN}")
        ).fetchall()
        connection.execute("drop table replayed, wrong")
        found.append((wrong[0][1] if wrong else 0, [name for name, _ in wrong]))
    return max(found)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A table, and the query that replays it."""

    table: str
    key: list[str]
    parts: list[str]
    replay: str

    @property
    def columns(self) -> str:
        return ", ".join([*self.key, *self.parts])

    @property
    def live(self) -> str:
        return f"select {self.columns} from {self.table}"


def _state(version: Version) -> _Rows:
    return _Rows(version.table, version.key, version.parts, version.fold)


def _days(version: Version) -> _Rows:
    return _Rows(version.days, [*version.key, *version.day_key], version.day_parts, version.by_day)


def _compare(connection: Connection, rows: _Rows, live: str, replay: str, arguments: dict[str, Any]) -> Comparison:
    """Compare live rows with replayed ones."""
    replayed = f"select {rows.columns} from ({replay}) as replay"
    place = f"hashtextextended({_named(rows.key)}, 0) & {RANGES - 1}"
    ranges = f"""{place} as place, count(*) as keys, bit_xor(hash_record_extended(row({rows.columns}), 0)) as hash"""
    found = connection.execute(
        _sql(f"""with live as (select {ranges} from ({live}) as live group by 1),
            replayed as (select {ranges} from ({replayed}) as replayed group by 1)
            select coalesce(sum(replayed.keys), 0)::bigint, array_agg(place) filter (
                where live.keys is distinct from replayed.keys or live.hash is distinct from replayed.hash)
            from live full join replayed using (place)"""),
        arguments,
    ).fetchone()
    assert found is not None
    if not found[1]:
        return Comparison(found[0], [])
    there = f"where {place} = any(%(places)s)"
    unequal = _unequal(
        rows, f"(select * from ({live}) as live {there}) as live", f"(select * from ({replayed}) as replay {there})"
    )
    names = connection.execute(
        _sql(f"with wrong as ({unequal}) select {_named(rows.key)} from wrong order by 1 limit {SHOWN}"),
        {**arguments, "places": found[1]},
    ).fetchall()
    return Comparison(found[0], [name for (name,) in names])


def _unequal(rows: _Rows, live: str, replayed: str) -> str:
    """Return the query for the keys whose live row is not the replayed one, or that only one side has."""
    return f"""select {", ".join(rows.key)} from {live} full join {replayed} as replayed using ({", ".join(rows.key)})
where ({", ".join(f"live.{name}" for name in [*rows.key, *rows.parts])})
    is distinct from ({", ".join(f"replayed.{name}" for name in [*rows.key, *rows.parts])})"""


def _named(key: Sequence[str]) -> str:
    return " || '/' || ".join(key)


def _sql(text: str) -> Any:  # noqa: ANN401
    """Vouch for generated SQL, as the driver takes no other text: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
