"""Bringing read models up to a position of the log.

Defines `advance` (fold what is new into what is served, rows and checkpoint in one transaction), `build` (fold a
version from zero) and `publish` (point the public view at it). What a model is stands in `models/`, the SQL in
`sql.py`, how rows are compared with a replay in `comparison.py`, and how a new version takes an old one's place in
`rebuild.py`.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, LiteralString, cast

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models import sql, table_function, versions
from analytics_pipelines.read_models.columns import count

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from psycopg import Connection

    from analytics_pipelines.read_models.columns import Column
    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.read_models.versions import Version

LOCK_TIMEOUT = "500ms"


@dataclass(frozen=True, slots=True)
class Advanced:
    """What an advance did to one model.

    Attributes:
        after: the position it was at.
        up_to: the position it is at.
        touched: the keys whose rows it wrote.
        seconds: how long it took; of models that advanced in one pass over the log, each its even share.
        version: the version that is served, and was advanced.
    """

    after: int
    up_to: int
    touched: int
    seconds: float
    version: str


def advance(
    connection: Connection, models: Iterable[ReadModel], up_to: int, failed: dict[str, str] | None = None
) -> dict[str, Advanced]:
    """Fold the events up to a position into the models, in one pass over the log, and return what became of each.

    Rows and checkpoints are written in the caller's transaction. A model without a table is folded from zero and
    published. One whose declaration has changed keeps serving the former version, which is advanced, until
    `rebuild.py` has put the new one in its place. A model that has come further stays where it is.

    Args:
        connection: a session.
        models: the models.
        up_to: the position to fold to.
        failed: is told by model why it cannot be folded; it is left as it was, and out of what is returned, and all
            others go on. Unless given, the first such model ends it all.

    Raises:
        PipelinesError: a model cannot be folded, and `failed` is not given.
    """
    by_name = {model.name: model for model in sorted(models, key=lambda model: model.name)}
    for name in by_name:  # in one order, so that two workers never wait for each other in a circle
        versions.lock(connection, name)
    serving = {name: _serving(connection, model) for name, model in by_name.items()}
    new = [name for name, version in serving.items() if not versions.exists(connection, version)]
    positions = {
        # What cannot be built shall not leave a checkpoint that others wait for.
        name: (progress.position_of if name in new else progress.read_checkpoint)(connection, version.table)
        for name, version in serving.items()
    }
    advanced = {
        name: Advanced(after, max(after, up_to), 0, 0, serving[name].version) for name, after in positions.items()
    }
    wrong: dict[str, str] = {}
    for name in new:
        with _named_failure(connection, name, wrong):
            advanced[name] = _build_new(connection, by_name[name], serving[name], advanced[name].up_to)
    behind = [name for name, position in positions.items() if position < up_to and name not in new]
    behind.sort(key=lambda name: positions[name])
    for after, group in groupby(behind, key=lambda name: positions[name]):
        advanced |= _fold_each(connection, [serving[name] for name in group], after, up_to, wrong)
    for name, version in serving.items():
        if name not in wrong:
            with _named_failure(connection, name, wrong):
                _serve(connection, by_name[name], version)
                if name in new:  # what was folded from zero a moment ago is a replay
                    versions.note_checked(connection, version, advanced[name].up_to)
    if wrong and failed is None:
        raise PipelinesError("; ".join(wrong.values()))
    if failed is not None:
        failed |= wrong
    return {name: one for name, one in advanced.items() if name not in wrong}


def require_sound(connection: Connection, model: ReadModel) -> None:
    """Refuse a declaration whose SQL Postgres does not understand, before anything is folded by it.

    Raises:
        PipelinesError: it does not; the line names the file, the column, and what Postgres says.
    """
    if _misunderstood(connection, model, model.columns) is None:
        return
    alone = count("events_of_the_key", "Whatever gives a row", *model.events)
    others = [column for column in model.columns if column not in model.folded]
    columns = [alone, *model.folded, *others]  # the others are made of the folded ones
    for number, column in enumerate(columns, start=1):
        if why := _misunderstood(connection, model, columns[:number]):
            place = "its key" if column is alone else f"the column {column.name}"
            raise PipelinesError(f"{_file(model.name)}: {place} is not understood: {why}; correct it")


def behind(connection: Connection, models: Iterable[ReadModel], up_to: int, *, after: int = 0) -> list[str]:
    """Return the names of the models that an event in `(after, up_to]`, past their checkpoint, would change."""
    found: list[str] = []
    for model in models:
        version = _serving(connection, model)
        row = connection.execute(
            "select exists (select from event_log.events "
            "where position > %s and position <= %s and event_type = any(%s))",
            [max(after, progress.position_of(connection, version.table)), up_to, version.events],
        ).fetchone()
        if row is not None and row[0]:
            found.append(model.name)
    return found


def catch_up(connection: Connection, version: Version, up_to: int) -> None:
    """Fold the events up to a position into a version, whether it is served or not."""
    after = progress.read_checkpoint(connection, version.table)
    if after < up_to:
        _fold(connection, [version], after, up_to)


def build(connection: Connection, version: Version, up_to: int) -> int:
    """Fold a version from zero into a new table, and return its rows.

    Unlike an insert, CREATE TABLE AS folds in parallel.
    """
    arguments = {"after": 0, "up_to": up_to}
    connection.execute(_sql(f"drop table if exists {version.table}, {version.days} cascade"))
    query = version.fold_at_once
    with expecting_everything(connection):
        if version.by_day:
            connection.execute(_sql(f"create table {version.days} as {query}"), arguments)
            key = ", ".join([*version.key, *version.day_key])
            connection.execute(_sql(f"alter table {version.days} add primary key ({key})"))
            query = version.combine
        rows = connection.execute(_sql(f"create table {version.table} as {query}"), arguments).rowcount
        connection.execute(_sql(f"alter table {version.table} add primary key ({', '.join(version.key)})"))
    # What dbt joins in the same minute shall have a plan for it, and comparisons know how much there is.
    connection.execute(_sql(f"analyze {version.table}{', ' + version.days if version.by_day else ''}"))
    progress.read_checkpoint(connection, version.table)
    progress.write_checkpoint(connection, version.table, up_to)
    return rows


@contextmanager
def expecting_everything(connection: Connection) -> Generator[None]:
    """Let folds of the whole log sort in the server's maintenance memory, and read each of its pages once.

    Sorts that went to disk made 3 million events of orders take 1.4 times as long. Read by event type, in the order of
    the index, a page is read once for each type on it: with a log of 10 million events, more than the server's buffers
    hold, these took 1.4 times as long again, and 7 million events of leads 1.2 times. Postgres thinks otherwise, as the
    first column of that index, the tenant, lies in the log's order.
    """
    connection.execute("""
        select set_config('work_mem', maintenance, true) from current_setting('maintenance_work_mem') as maintenance
        where pg_size_bytes(maintenance) > pg_size_bytes(current_setting('work_mem'))
    """)
    connection.execute("set local enable_indexscan = off")  # a bitmap of what the index finds, or no index
    yield
    connection.execute("set local enable_indexscan to default; set local work_mem to default")


def publish(connection: Connection, model: ReadModel) -> None:
    """Point the public view at the version that the code declares, and make its function as of a moment."""
    show(connection, versions.declared(model))
    table_function.publish(connection, model)


def show(connection: Connection, version: Version) -> None:
    """Point the public view at a version, in one transaction: readers find the former one or this one.

    Raises:
        psycopg.errors.LockNotAvailable: readers have held the view for too long; others wait meanwhile, so try later.
    """
    view = pg.Identifier("read_models", version.name)
    before = [name for name, _ in _described(connection, version.name)]
    # A view can be replaced in place, with those that are built upon it, if what it gets comes after what it has.
    kept = [name for name in before if name in version.descriptions]
    added = [name for name in version.descriptions if name not in kept]
    query = _sql(f"select {', '.join(kept + added)} from ({version.view}) as shown")
    if added or not _reads(connection, version):  # words alone are changed without waiting for readers
        connection.execute(pg.SQL("set local lock_timeout = {}").format(pg.Literal(LOCK_TIMEOUT)))
        try:
            with connection.transaction():
                connection.execute(pg.SQL("create or replace view {} as {}").format(view, query))
        except errors.InvalidTableDefinition:
            # A view that loses or changes columns cannot be replaced in place; views built on it are made again by dbt.
            connection.execute(pg.SQL("drop view {} cascade").format(view))
            connection.execute(pg.SQL("create view {} as {}").format(view, _sql(version.view)))
        connection.execute("set local lock_timeout to default")
    _comment(connection, pg.SQL("view {}").format(view), version.grain)
    for name, text in version.descriptions.items():
        _comment(connection, pg.SQL("column {}.{}").format(view, pg.Identifier(name)), text)


def _serving(connection: Connection, model: ReadModel) -> Version:
    """Return the version to advance: the one that is served, or, where there is none, the declared one."""
    declared, entry = versions.declared(model), versions.served(connection, model.name)
    if entry is None or entry.version.version == declared.version or not versions.exists(connection, entry.version):
        return declared
    return entry.version


UNFOLDABLE = (
    errors.DataError,
    errors.ProgrammingError,
    errors.NotSupportedError,
    errors.ProgramLimitExceeded,
    errors.IntegrityError,
    errors.InternalError,
)
"""What a declaration brings about that does not suit the events; not what another session or the server does."""


@contextmanager
def _named_failure(connection: Connection, name: str, failed: dict[str, str]) -> Generator[None]:
    """Take back what is done of a model if it cannot be folded, and write down why."""
    try:
        with connection.transaction():
            yield
    except PipelinesError as error:
        failed[name] = str(error)
    except UNFOLDABLE as error:
        failed[name] = f"{_file(name)}: it cannot be folded: {error.diag.message_primary or error}"


def _file(name: str) -> str:
    return f"read_models/models/{name}.py"


def _misunderstood(connection: Connection, model: ReadModel, columns: Sequence[Column]) -> str | None:
    """Return what Postgres says against the model's SQL with these columns; None if it understands it."""
    model = replace(model, columns=tuple(columns), by_day=False)
    try:
        with connection.transaction():
            query = sql.view(model, f"({sql.fold(model)}) as state")
            connection.execute(_sql(f"explain {query}"), {"after": 0, "up_to": 0})
    except UNFOLDABLE as error:
        return error.diag.message_primary or str(error)
    return None


def _build_new(connection: Connection, model: ReadModel, version: Version, up_to: int) -> Advanced:
    started = time.perf_counter()
    require_sound(connection, model)
    touched = build(connection, version, up_to)
    progress.note_change(connection, f"read_models/{model.name}")
    return Advanced(0, up_to, touched, time.perf_counter() - started, version.version)


def _fold_each(
    connection: Connection, behind: Sequence[Version], after: int, up_to: int, failed: dict[str, str]
) -> dict[str, Advanced]:
    """Fold the events of a range into several models in one pass; if that fails, into each for itself."""
    try:
        with connection.transaction():
            return _fold_together(connection, behind, after, up_to)
    except UNFOLDABLE:  # of which model, the pass does not tell
        advanced: dict[str, Advanced] = {}
        for version in behind:
            with _named_failure(connection, version.name, failed):
                advanced |= _fold_together(connection, [version], after, up_to)
        return advanced


def _fold_together(connection: Connection, behind: Sequence[Version], after: int, up_to: int) -> dict[str, Advanced]:
    started = time.perf_counter()
    counts = _fold(connection, behind, after, up_to)
    seconds = (time.perf_counter() - started) / len(behind)
    return {
        version.name: Advanced(after, up_to, touched, seconds, version.version)
        for version, touched in zip(behind, counts, strict=True)
    }


def _serve(connection: Connection, model: ReadModel, version: Version) -> None:
    """Have the view and the account say that the version is served, where it is the declared one."""
    if version.version == sql.version(model):
        if not _is_published(connection, model):
            publish(connection, model)
        versions.serve(connection, version)


def _fold(connection: Connection, behind: Sequence[Version], after: int, up_to: int) -> Sequence[int]:
    counts = connection.execute(_sql(sql.together(behind)), {"after": after, "up_to": up_to}).fetchone()
    assert counts is not None
    for version in behind:
        progress.write_checkpoint(connection, version.table, up_to)
    return counts


def _is_published(connection: Connection, model: ReadModel) -> bool:
    """Tell whether the public view reads this version's table and is described in today's words."""
    grain = connection.execute("select obj_description(to_regclass(%s))", [f"read_models.{model.name}"]).fetchone()
    described = dict(_described(connection, model.name)) == model.descriptions and grain == (model.grain,)
    return described and _reads(connection, versions.declared(model)) and table_function.is_published(connection, model)


def _reads(connection: Connection, version: Version) -> bool:
    """Tell whether the public view reads this version's table."""
    row = connection.execute(
        """
        select from information_schema.view_table_usage
        where view_schema = 'read_models' and view_name = %s and 'read_models.' || table_name = %s
        """,
        [version.name, version.table],
    ).fetchone()
    return row is not None


def detached(connection: Connection) -> list[str]:
    """Return the partitions of the log that are detached: what is folded again misses their events."""
    query = "select table_name from event_log.partitions where detached_at is not null order by first_position"
    return [name for (name,) in connection.execute(query).fetchall()]


def _described(connection: Connection, name: str) -> list[tuple[str, str | None]]:
    """Return the columns of the public view, in order, with what is said of each."""
    return connection.execute(
        "select attname, col_description(attrelid, attnum) from pg_attribute "
        "where attrelid = to_regclass(%s) and attnum > 0 order by attnum",
        [f"read_models.{name}"],
    ).fetchall()


def _comment(connection: Connection, what: pg.Composable, text: str) -> None:
    connection.execute(pg.SQL("comment on {} is {}").format(what, pg.Literal(text)))


def _sql(text: str) -> Any:  # noqa: ANN401
    """Vouch for generated SQL, as the driver takes no other text: it is made from declarations, which are code."""
    return pg.SQL(cast("LiteralString", text))
