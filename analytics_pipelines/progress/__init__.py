"""Progress: what was built to which position of the log.

Defines the pin (the position that everything in one run is built to), the account of builds, and the checkpoints of
durable readers. Add here what several rooms need to know about how far something has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

ALL_TENANTS = "*"

# One pass over the new events for both: the watermarks, and the days that they touch. Before the first pin nobody has
# read the log, so that there is nothing to tell of single days.
_NOTE_NEW_EVENTS = """
    with added as materialized (
        select tenant_id, event_type, (occurred_at at time zone 'UTC')::date as day, max(occurred_at) as newest
        from event_log.events
        where position > (select coalesce(max(up_to_position), 0) from progress.pins where up_to_position <= %(up_to)s)
            and position <= %(up_to)s
        group by tenant_id, event_type, day
    ), changed as materialized (
        select progress.note_change('event_log.events', not exists (select from progress.changes
            where model = 'event_log.events')) as change
        where exists (select from added)
    ), noted as (
        insert into progress.touched (model, kind, tenant_id, key, change, position)
        select 'event_log.events', event_type, tenant_id, day::text, change, %(up_to)s
        from added cross join changed where change > 1
        on conflict (model, kind, tenant_id, key) do update set change = excluded.change, position = excluded.position
    )
    insert into progress.watermarks (tenant_id, position, watermark)
    select tenant_id, %(up_to)s, greatest(newest, before.watermark)
    from (select tenant_id, max(newest) as newest from added group by tenant_id) as tenants
    left join lateral (
        select watermark from progress.watermarks
        where tenant_id = tenants.tenant_id and position < %(up_to)s order by position desc limit 1
    ) as before on true
    on conflict (tenant_id, position) do nothing
"""

_RECORD = """
    insert into progress.builds
        (tenant_id, asset_key, position, watermark, rows, seconds, code_version, run_id, inputs)
    values (%(tenant_id)s, %(asset_key)s, %(position)s, progress.watermark(%(tenant_id)s), %(rows)s, %(seconds)s,
        %(code_version)s, %(run_id)s, %(inputs)s)
    on conflict (tenant_id, asset_key) do update set
        position = excluded.position, watermark = excluded.watermark, rows = excluded.rows,
        seconds = excluded.seconds, code_version = excluded.code_version, run_id = excluded.run_id,
        inputs = excluded.inputs, built_at = clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Build:
    """How far one asset has come, over all tenants."""

    asset_key: str
    position: int
    rows: int | None
    seconds: float
    code_version: str
    watermark: datetime | None
    built_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """What the last build of a mart made.

    Attributes:
        is_whole: whether it made all rows anew.
        rows: the rows that there are now, by tenant.
        recomputed: how many rows it computed, be they as before or not.
        restated: how many rows that were there it changed or removed; None where it made all anew.
    """

    is_whole: bool
    rows: dict[str, int]
    recomputed: int
    restated: int | None


def pin(pool: ConnectionPool, run_id: str) -> int:
    """Return the position that a run builds to: settled when the run first asks, and the same ever after.

    Also writes down every tenant's watermark at that position, and the days that new events touch.
    """
    with pool.connection() as connection:
        row = connection.execute("select up_to_position from progress.pins where run_id = %s", [run_id]).fetchone()
        if row is not None:
            return row[0]
        settled = connection.execute("select event_log.settle()").fetchone()
        connection.commit()  # what settled is visible to snapshots taken from here on
        assert settled is not None
        connection.execute(_NOTE_NEW_EVENTS, {"up_to": settled[0]})
        connection.execute(
            "insert into progress.pins (run_id, up_to_position) values (%s, %s) on conflict do nothing",
            [run_id, settled[0]],
        )
        connection.commit()
        row = connection.execute("select up_to_position from progress.pins where run_id = %s", [run_id]).fetchone()
        assert row is not None
        return row[0]


def record_build(  # noqa: PLR0913 - the facts of one row, by keyword
    connection: Connection,
    *,
    asset_key: str,
    position: int,
    rows: Mapping[str, int],
    seconds: float,
    code_version: str,
    run_id: str,
    inputs: Mapping[str, int] | None = None,
) -> None:
    """Write down that an asset was built, in the transaction that built it.

    Args:
        connection: the session; `pipelines.up_to_position` must be set to `position`.
        asset_key: the asset, as `schema/table`.
        position: the position of the log it was built to.
        rows: its rows by tenant.
        seconds: how long it took.
        code_version: the version of the code that built it.
        run_id: the run.
        inputs: what `changes` told before they were read; the asset is fresh until one of them changes.
    """
    facts = {
        "asset_key": asset_key,
        "position": position,
        "seconds": seconds,
        "code_version": code_version,
        "run_id": run_id,
        "inputs": None if inputs is None else Jsonb(dict(inputs)),
    }
    counts = {**rows, ALL_TENANTS: sum(rows.values())}
    connection.execute(
        "delete from progress.builds where asset_key = %s and tenant_id <> all(%s)", [asset_key, list(counts)]
    )
    for tenant_id, count in sorted(counts.items()):
        connection.execute(_RECORD, {**facts, "tenant_id": tenant_id, "rows": count})


def account(connection: Connection, asset_key: str) -> Account:
    """Return what the last build of a mart made, as dbt has written it down."""
    row = connection.execute(
        """
        select is_whole, recomputed, restated,
            (select coalesce(json_object_agg(b.tenant_id, b.rows order by b.tenant_id), '{}') from progress.builds as b
             where b.asset_key = builds.asset_key and b.tenant_id <> %(all)s)
        from progress.builds where asset_key = %(asset_key)s and tenant_id = %(all)s
        """,
        {"asset_key": asset_key, "all": ALL_TENANTS},
    ).fetchone()
    assert row is not None
    return Account(row[0], row[3], row[1], row[2])


def builds(connection: Connection) -> dict[str, Build]:
    """Return how far each asset has come, by asset key."""
    rows = connection.execute(
        """
        select asset_key, position, rows, seconds, code_version,
            (select max(watermark) from progress.builds as b where b.asset_key = builds.asset_key), built_at
        from progress.builds where tenant_id = %s order by asset_key
        """,
        [ALL_TENANTS],
    ).fetchall()
    return {row[0]: Build(*row) for row in rows}


def lag(connection: Connection, position: int) -> tuple[int, float]:
    """Return how far a position lies behind the log: in events, and in seconds since the first of them was recorded.

    What writers have appended and not committed yet counts as events, not as seconds.
    """
    row = connection.execute(
        """
        select
            (select greatest(last_value - case when is_called then 0 else 1 end - %(at)s, 0)
             from event_log.position_sequence),
            coalesce((
                select extract(epoch from clock_timestamp() - recorded_at)::double precision
                from event_log.events where position > %(at)s order by position limit 1
            ), 0)
        """,
        {"at": position},
    ).fetchone()
    assert row is not None
    return row[0], max(row[1], 0.0)


def changes(connection: Connection, relations: Sequence[str]) -> dict[str, int]:
    """Return how often each of these relations, as `schema.name`, has changed; ask before reading them."""
    rows = connection.execute(
        """
        select relation, coalesce(change, 0)
        from unnest(%s::text[]) as relation left join progress.changes on model = relation
        """,
        [list(relations)],
    )
    return dict(rows.fetchall())


def note_change(connection: Connection, asset_key: str) -> None:
    """Say that all of an asset changed outside of a build: the next one makes anew what derives from it, whole."""
    connection.execute("select progress.note_change(%s, true)", [asset_key.replace("/", ".")])
    connection.execute(
        "update progress.builds set built_at = clock_timestamp() where asset_key = %s and tenant_id = %s",
        [asset_key, ALL_TENANTS],
    )


def lock_asset(connection: Connection, asset_key: str) -> None:
    """Keep other runs from building the same asset until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(2018, hashtext(%s))", [asset_key])


def broken(connection: Connection) -> set[str]:
    """Return the keys of the assets, as `marts/fct_orders`, that fail a test which holds back what is built of them."""
    query = "select distinct asset_key from progress.tests where is_blocking and not passed"
    return {asset_key for (asset_key,) in connection.execute(query).fetchall()}


def failed_tests(connection: Connection) -> set[str]:
    """Return the names of the tests that hold back what is built of their assets, until they have passed."""
    return {test for (test,) in connection.execute("select test from progress.tests where is_blocking and not passed")}


def event_types_between(connection: Connection, after: int, up_to: int) -> frozenset[str]:
    """Return the event types that were appended in `(after, up_to]`."""
    rows = connection.execute(
        "select distinct event_type from event_log.events where position > %s and position <= %s", [after, up_to]
    )
    return frozenset(row[0] for row in rows.fetchall())


def watermarks_moved_between(connection: Connection, after: int, up_to: int) -> bool:
    """Tell whether the events in `(after, up_to]` moved the watermark of a tenant: what depends on time is then old."""
    row = connection.execute(
        """
        select exists (
            select from event_log.events as added
            where position > %(after)s and position <= %(up_to)s and occurred_at > coalesce(
                (select watermark from progress.watermarks
                 where tenant_id = added.tenant_id and position <= %(after)s order by position desc limit 1),
                '-infinity')
        )
        """,
        {"after": after, "up_to": up_to},
    ).fetchone()
    return row is not None and row[0]


def set_position(connection: Connection, position: int) -> None:
    """Let `progress.up_to_position()` answer this position until the transaction ends."""
    connection.execute("select set_config('pipelines.up_to_position', %s, true)", [str(position)])


def read_checkpoint(connection: Connection, reader: str) -> int:
    """Return the position up to which a durable reader's effects are committed, locked until the transaction ends.

    The lock keeps a second worker of the same reader waiting, so that nothing is applied twice.
    """
    connection.execute(
        "insert into progress.checkpoints (tenant_id, reader, position) values (%s, %s, 0) on conflict do nothing",
        [ALL_TENANTS, reader],
    )
    row = connection.execute(
        "select position from progress.checkpoints where tenant_id = %s and reader = %s for update",
        [ALL_TENANTS, reader],
    ).fetchone()
    assert row is not None
    return row[0]


def position_of(connection: Connection, reader: str) -> int:
    """Return the position up to which a durable reader's effects are committed, as far as this transaction sees."""
    row = connection.execute(
        "select position from progress.checkpoints where tenant_id = %s and reader = %s", [ALL_TENANTS, reader]
    ).fetchone()
    return 0 if row is None else row[0]


def write_checkpoint(connection: Connection, reader: str, position: int) -> None:
    """Move a reader's checkpoint, in the transaction of its effects."""
    connection.execute(
        "update progress.checkpoints set position = %s where tenant_id = %s and reader = %s",
        [position, ALL_TENANTS, reader],
    )
