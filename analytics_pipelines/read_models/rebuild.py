"""Putting one version of a read model in another's place, while readers go on.

Defines `rebuild` (build the declared version beside, catch up, compare it with a replay, switch to it; or put right the
rows of the one that is served) and `go_back` (switch to the version that was served before, and hold it). Each step
commits for itself: whatever ends the process leaves the served version serving, and the next call goes on from there.
"""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors
from psycopg import sql as pg

from analytics_pipelines import progress
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.read_models import comparison, projector, versions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.read_models.versions import Version

ATTEMPTS = 100
PAUSE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a model.

    Attributes:
        model: the model.
        version: the version that is served now.
        former: the version that was served until now; None if that is the same one.
        repaired: the keys whose rows were put right, where the version stayed.
        examples: some of them, as `tenant/key`.
        seconds: how long it took.
    """

    model: str
    version: str
    former: str | None
    repaired: int
    examples: list[str]
    seconds: float


def rebuild(  # noqa: PLR0913 - what to rebuild, and how, by keyword
    pool: ConnectionPool,
    model: ReadModel,
    up_to: int,
    *,
    tenant: str = "",
    key: str = "",
    repair: bool = True,
    from_what_is_left: bool = False,
) -> Rebuilt:
    """Serve what the declaration says, folded from zero.

    A changed declaration is built beside and switched to. Otherwise the rows that differ from a replay are replaced;
    with a key, that one.

    Args:
        pool: sessions.
        model: the model.
        up_to: the position of the log to build to.
        tenant: whose key.
        key: the one key whose row is to be put right; of several columns, joined by `/`.
        repair: also look for wrong rows where the declaration is served already.
        from_what_is_left: go on although partitions are detached, whose events are then missing from every row.

    Raises:
        PipelinesError: partitions are detached, or nobody has the key; or the declaration cannot be folded; or what was
            built differs from a replay, or readers did not let go of the view.
    """
    started = time.perf_counter()
    with _alone(pool, model.name) as connection:
        version = versions.declared(model)
        entry = versions.served(connection, model.name)
        if not from_what_is_left and (detached := projector.detached(connection)):
            raise PipelinesError(
                f"{', '.join(detached)}: detached, so that {model.name}, folded again, would miss its events; give "
                "--from-what-is-left to do without them"
            )
        if entry is None or not versions.exists(connection, entry.version):
            with connection.transaction():
                projector.advance(connection, [model], up_to)
            return Rebuilt(model.name, version.version, None, 0, [], time.perf_counter() - started)
        if not repair and entry.version.version == version.version:  # another process was first
            return Rebuilt(model.name, version.version, None, 0, [], time.perf_counter() - started)
        if key or entry.version.version == version.version:
            with connection.transaction():
                versions.lock(connection, model.name)
                repaired, examples = comparison.repair(connection, entry.version, tenant=tenant, key=key)
                if repaired:
                    progress.note_change(connection, f"read_models/{model.name}")
            seconds = time.perf_counter() - started
            return Rebuilt(model.name, entry.version.version, None, repaired, examples, seconds)
        projector.require_sound(connection, model)
        _prepare(connection, version, up_to)
        _switch(connection, version, model)
        return Rebuilt(model.name, version.version, entry.version.version, 0, [], time.perf_counter() - started)


def changed(pool: ConnectionPool, models: Iterable[ReadModel]) -> list[ReadModel]:
    """Return the models whose declaration is not the one that is served, but for those that are held."""
    with pool.connection() as connection:
        found = [(model, versions.served(connection, model.name)) for model in models]
    return [
        model
        for model, entry in found
        if entry is not None and not entry.held and entry.version.version != versions.declared(model).version
    ]


def rebuild_all(
    pool: ConnectionPool, models: Iterable[ReadModel], up_to: int
) -> tuple[dict[str, Rebuilt], dict[str, str]]:
    """Rebuild models whose declaration has changed, each for itself; return what became of each, or why not."""
    done: dict[str, Rebuilt] = {}
    failed: dict[str, str] = {}
    for model in models:
        try:
            done[model.name] = rebuild(pool, model, up_to, repair=False)
        except PipelinesError as error:
            failed[model.name] = str(error)
        except errors.Error as error:
            why = error.diag.message_primary or error
            failed[model.name] = f"read_models/models/{model.name}.py: it cannot be rebuilt: {why}"
    return done, failed


def go_back(pool: ConnectionPool, name: str, up_to: int) -> Rebuilt:
    """Serve the version that was served before, and hold it until `rebuild`.

    Raises:
        PipelinesError: there is none; or it differs from a replay, or readers did not let go of the view.
    """
    started = time.perf_counter()
    with _alone(pool, name) as connection:
        entry, now = versions.former(connection, name), versions.served(connection, name)
        if entry is None or now is None:
            raise PipelinesError(
                f"{name} has no former version to go back to; `pipelines rebuild --list` tells which are kept"
            )
        _prepare(connection, entry.version, up_to)
        _switch(connection, entry.version, None)
    return Rebuilt(name, entry.version.version, now.version.version, 0, [], time.perf_counter() - started)


@contextmanager
def _alone(pool: ConnectionPool, name: str) -> Generator[Connection]:
    """Take a session in which this process alone rebuilds the model; others wait."""
    with pool.connection() as connection:
        connection.autocommit = True  # each step is a transaction of its own
        connection.execute("select pg_advisory_lock(2019, hashtext(%s))", [name])
        try:
            yield connection
        finally:
            if not connection.closed:  # with the session, the lock is gone
                connection.execute("select pg_advisory_unlock(2019, hashtext(%s))", [name])
                connection.autocommit = False


def _prepare(connection: Connection, version: Version, up_to: int) -> None:
    """Have the version built, caught up and found equal to a replay; one that was left behind is built once more."""
    for is_last in (False, True):
        with connection.transaction():
            built = not versions.exists(connection, version)
            if built:
                projector.build(connection, version, up_to)
                versions.register(connection, version)
        with connection.transaction():
            projector.catch_up(connection, version, up_to)
        with connection.transaction():
            found = comparison.differences(connection, version)
            position = progress.position_of(connection, version.table)
            if not found.differing:
                versions.note_checked(connection, version, position)
                return
            _drop(connection, version)
        if built or is_last:
            break
    raise PipelinesError(
        f"{version.table}, built beside, differs from a replay in {', '.join(found.differing)} and others of "
        f"{found.keys} keys, and is dropped; what was served is served on; see which expression depends on more than "
        "the event"
    )


def _switch(connection: Connection, version: Version, model: ReadModel | None) -> None:
    """Point the view at the version once it is as far as the one it replaces; hold it if it is not the declared one."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        with suppress(errors.LockNotAvailable, errors.DeadlockDetected), connection.transaction():
            versions.lock(connection, version.name)
            served = versions.served(connection, version.name)
            if served is not None:
                projector.catch_up(connection, version, progress.read_checkpoint(connection, served.version.table))
            if model is None:
                projector.show(connection, version)
            else:
                projector.publish(connection, model)
            versions.serve(connection, version, held=model is None)
            progress.note_change(connection, f"read_models/{version.name}")
            break
    else:
        raise PipelinesError(
            f"read_models.{version.name} is read without a pause, so that {version.table} cannot take its place; end "
            "the long queries (pg_stat_activity) and try again; what was served is served on"
        )
    _clean_up(connection, version.name)


def _clean_up(connection: Connection, name: str) -> None:
    """Drop what is neither served nor was served last."""
    with connection.transaction():
        found = versions.entries(connection, name)
        served = [entry.version for entry in found if entry.state == "served"]
        former = [entry.version for entry in found if entry.state == "former"]
        kept = [version.version for version in served + former[:1]]
        for entry in found:
            if entry.version.version not in kept:
                _drop(connection, entry.version)
        # Tables from before there was an account of versions.
        strays = connection.execute(
            """
            select relname from pg_class
            where relnamespace = 'read_models'::regnamespace and relkind = 'r' and relname ~ %s
                and substring(relname from %s) <> all(%s)
            """,
            [f"^{name}__v[0-9a-f]{{8}}(__days)?$", "__v([0-9a-f]{8})", kept],
        ).fetchall()
        for (table,) in strays:
            _drop_table(connection, table)


def _drop(connection: Connection, version: Version) -> None:
    for table in (version.days, version.table):
        _drop_table(connection, table.removeprefix("read_models."))
    connection.execute(
        "delete from read_models.versions where model = %s and version = %s", [version.name, version.version]
    )


def _drop_table(connection: Connection, table: str) -> None:
    # What somebody has built upon it directly keeps it; readers of it do not wait. The next switch tries again.
    with suppress(errors.DependentObjectsStillExist, errors.LockNotAvailable), connection.transaction():
        connection.execute(pg.SQL("set local lock_timeout = {}").format(pg.Literal(projector.LOCK_TIMEOUT)))
        connection.execute(pg.SQL("drop table if exists {}").format(pg.Identifier("read_models", table)))
        connection.execute("delete from progress.checkpoints where reader = %s", [f"read_models.{table}"])
