"""Versions of a read model, and the account of those that have a table.

Defines `Version`, everything a version is advanced, replayed and shown with, and the table `read_models.versions`,
where it is written down: the code knows the declaration of today, and a version that was replaced must still serve. How
one version takes another's place stands in `rebuild.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from analytics_pipelines import progress
from analytics_pipelines.read_models import sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

    from analytics_pipelines.read_models.declaration import ReadModel


@dataclass(frozen=True, slots=True)
class Version:
    """A read model as one version of its declaration has it, in SQL.

    Attributes:
        name: the model.
        version: the digits that change with the meaning of the declaration.
        key: what identifies a row, the tenant first.
        parts: the columns of its state.
        events: the event types it is folded from.
        steps: the named steps that advance it over `new_events`.
        new: the events of a range of positions, with their keys.
        touched: the keys that these touch, as `new` and `touched`.
        refold: the rows of the latter made anew, without reading the whole log.
        fold: the fold of everything.
        fold_at_once: the same, for many events.
        by_day: the fold by day, what identifies its rows beside the key, and its other columns, where these are kept.
        combine: the state, made of what is kept by day.
        view: what people read.
        grain: what a row is.
        descriptions: what the columns mean.
    """

    name: str
    version: str
    key: list[str]
    parts: list[str]
    events: list[str]
    steps: list[list[str]]
    new: str
    touched: str
    refold: str
    fold: str
    fold_at_once: str
    by_day: str
    day_key: list[str]
    day_parts: list[str]
    combine: str
    view: str
    grain: str
    descriptions: Mapping[str, str]

    @property
    def public(self) -> str:
        """The view that people read."""
        return f"read_models.{self.name}"

    @property
    def table(self) -> str:
        """The table of its state."""
        return f"read_models.{self.name}__v{self.version}"

    @property
    def days(self) -> str:
        """The table of its partial results by day."""
        return f"{self.table}__days"


@dataclass(frozen=True, slots=True)
class Entry:
    """A version in the account.

    Attributes:
        version: the version.
        state: served, former or beside.
        held: it is served although the declaration is another one.
        checked_position: up to where its rows were last found equal to a replay.
        built_at: when it was built.
        switched_at: when it began to be served, or ceased to.
    """

    version: Version
    state: str
    held: bool
    checked_position: int
    built_at: datetime
    switched_at: datetime | None


def declared(model: ReadModel) -> Version:
    """Return the version that the code declares."""
    parts = [part.name for part in model.parts]
    return Version(
        name=model.name,
        version=sql.version(model),
        key=["tenant_id", *model.key],
        parts=parts,
        events=model.events,
        steps=[list(step) for step in sql.steps(model, "new_events", "true")],
        new=sql.events(model, sql.NEW),
        touched=sql.touched(model),
        refold=sql.refolded_by_parts(model, "touched"),
        fold=sql.fold(model),
        fold_at_once=sql.fold_at_once(model),
        by_day=sql.fold_by_day(model) if model.by_day else "",
        day_key=list(sql.BY_DAY) if model.by_day else [],
        day_parts=[*parts, *(f"_{name}" for name in sql.DAY_BOUNDS)] if model.by_day else [],
        combine=sql.combine_at_once(model) if model.by_day else "",
        view=sql.view(model, sql.table(model)).replace("%%", "%"),  # made without parameters
        grain=model.grain,
        descriptions=model.descriptions,
    )


def lock(connection: Connection, name: str) -> None:
    """Keep others from advancing, switching or repairing the model until the transaction ends."""
    progress.lock_asset(connection, f"read_models/{name}")


def entries(connection: Connection, name: str) -> list[Entry]:
    """Return the versions of a model that have a table: the served one, then the newest first."""
    rows = connection.execute(
        """
        select statements, state, held, checked_position, built_at, switched_at
        from read_models.versions where model = %s
        order by state = 'served' desc, coalesce(switched_at, built_at) desc
        """,
        [name],
    ).fetchall()
    known = {field.name for field in fields(Version)}  # what a later release wrote down beyond them is passed over
    return [
        Entry(Version(**{name: value for name, value in row[0].items() if name in known}), *row[1:]) for row in rows
    ]


def served(connection: Connection, name: str) -> Entry | None:
    """Return the version that the public view reads; None before the first build."""
    return next((entry for entry in entries(connection, name) if entry.state == "served"), None)


def former(connection: Connection, name: str) -> Entry | None:
    """Return the version that was served before."""
    return next((entry for entry in entries(connection, name) if entry.state == "former"), None)


def exists(connection: Connection, version: Version) -> bool:
    """Tell whether the version has its tables."""
    days = version.days if version.by_day else version.table
    row = connection.execute(
        "select to_regclass(%s) is not null and to_regclass(%s) is not null", [version.table, days]
    ).fetchone()
    return row is not None and row[0]


def register(connection: Connection, version: Version) -> None:
    """Write down that the version has been built beside; in the transaction that builds it."""
    connection.execute(
        """
        insert into read_models.versions (model, version, state, statements) values (%s, %s, 'beside', %s)
        on conflict (model, version) do update set
            statements = excluded.statements, checked_position = 0, built_at = clock_timestamp()
        """,
        [version.name, version.version, json.dumps(asdict(version))],
    )


def serve(connection: Connection, version: Version, *, held: bool = False) -> None:
    """Write down that the version is served, and whichever was, no more; nothing if that is so already."""
    connection.execute(
        """
        update read_models.versions set state = 'former', held = false, switched_at = clock_timestamp()
        where model = %s and version <> %s and state = 'served'
        """,
        [version.name, version.version],
    )
    connection.execute(
        """
        insert into read_models.versions as entry (model, version, state, held, statements, switched_at)
        values (%(model)s, %(version)s, 'served', %(held)s, %(statements)s, clock_timestamp())
        on conflict (model, version) do update set
            state = 'served', held = excluded.held, statements = excluded.statements,
            switched_at = case when entry.state = 'served' then entry.switched_at else clock_timestamp() end
        where (entry.state, entry.held, entry.statements::text)
            is distinct from ('served', excluded.held, excluded.statements::text)
        """,
        {
            "model": version.name,
            "version": version.version,
            "held": held,
            "statements": json.dumps(asdict(version)),
        },
    )


def note_checked(connection: Connection, version: Version, position: int) -> None:
    """Write down that the version's rows up to a position equal a replay."""
    connection.execute(
        "update read_models.versions set checked_position = greatest(checked_position, %s) "
        "where model = %s and version = %s",
        [position, version.name, version.version],
    )


def note_wrong(connection: Connection, version: Version) -> None:
    """Write down that some row of the version is wrong: nothing counts as checked."""
    connection.execute(
        "update read_models.versions set checked_position = 0 where model = %s and version = %s",
        [version.name, version.version],
    )
