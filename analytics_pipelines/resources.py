"""The two servers, for Dagster's assets.

Defines `Platform`, the one resource, and `Build`, what an asset works with while it is built. Thinking belongs into the
rooms' plain modules; here is what every asset does alike: pin the position, open a transaction, account for the build,
and tell the catalog what people want to see.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, LiteralString, cast

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    AssetKey,
    AssetSelection,
    ConfigurableResource,
    InitResourceContext,
    MaterializeResult,
    MetadataValue,
    OpExecutionContext,
    TableColumn,
    TableSchema,
)
from pydantic import PrivateAttr

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from dagster._core.definitions.assets.job.asset_job import JobScopedAssetGraph
    from psycopg import Connection
    from psycopg_pool import ConnectionPool
    from redis import Redis

    from analytics_pipelines.settings import Settings

PREVIEW_ROWS = 5
PREVIEW_WIDTH = 60

_COLUMNS = """
    select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
    from pg_attribute as a
    where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
    order by a.attnum
"""


class Build:
    """One asset being built: a transaction, and the position of the log to build to."""

    def __init__(
        self, connection: Connection, asset_key: AssetKey, up_to_position: int, run_id: str, code_version: str
    ) -> None:
        """Take the open transaction; `Platform.build` makes these."""
        self.connection = connection
        self.asset_key = asset_key
        self.up_to_position = up_to_position
        self._run_id = run_id
        self._code_version = code_version
        self._started = time.perf_counter()

    def result(
        self,
        *,
        rows: Mapping[str, int] | None = None,
        seconds: float | None = None,
        table: str | None = None,
        inputs: Mapping[str, int] | None = None,
        **metadata: Any,  # noqa: ANN401 - any metadata value
    ) -> MaterializeResult[Any]:
        """Account for the build and say what people want to see of it.

        Args:
            rows: the rows by tenant; counted unless given.
            seconds: how long it took, if that was not the time since the build began.
            table: the table to show, for an asset whose rows are given; the asset's own otherwise.
            inputs: up to which change of each relation it holds what it reads, as `progress.changes` tells.
            metadata: more to show.
        """
        seconds = time.perf_counter() - self._started if seconds is None else seconds
        if rows is None:
            table = ".".join(self.asset_key.path)
            rows = _rows_by_tenant(self.connection, table)
        self._record(rows, seconds, inputs)
        return self._shown(rows, seconds, table, metadata)

    def accounted_result(self, *, seconds: float) -> MaterializeResult[Any]:
        """Show a table that has accounted for itself, as dbt's do: what of it was made anew, and what that changed."""
        from analytics_pipelines import progress

        account = progress.account(self.connection, self.asset_key.to_user_string())
        facts = {
            "is_whole": account.is_whole,
            "recomputed": account.recomputed,
            "restated": "not counted" if account.restated is None else account.restated,
        }
        return self._shown(account.rows, seconds, ".".join(self.asset_key.path), facts)

    def view_result(self, *, seconds: float) -> MaterializeResult[Any]:
        """Show a view: it holds no rows, and counting what it shows would cost as much as a table."""
        shown = {"built_to_position": self.up_to_position, "seconds": round(seconds, 3)}
        return MaterializeResult(asset_key=self.asset_key, metadata=shown)

    def _shown(
        self, rows: Mapping[str, int], seconds: float, table: str | None, metadata: Mapping[str, Any]
    ) -> MaterializeResult[Any]:
        shown: dict[str, Any] = {
            "dagster/row_count": sum(rows.values()),
            "rows_by_tenant": MetadataValue.json(dict(rows)),
            "built_to_position": self.up_to_position,
            "watermarks": MetadataValue.json(_watermarks(self.connection, rows)),
            "seconds": round(seconds, 3),
            **metadata,
        }
        if table:
            shown["dagster/column_schema"] = column_schema(self.connection, table)
            shown["preview"] = MetadataValue.md(_preview(self.connection, table))
        return MaterializeResult(asset_key=self.asset_key, metadata=shown)

    def _record(self, rows: Mapping[str, int], seconds: float, inputs: Mapping[str, int] | None) -> None:
        from analytics_pipelines import progress

        progress.record_build(
            self.connection,
            asset_key=self.asset_key.to_user_string(),
            position=self.up_to_position,
            rows=rows,
            seconds=seconds,
            code_version=self._code_version,
            run_id=self._run_id,
            inputs=inputs,
        )


class Platform(ConfigurableResource[Any]):
    """Postgres and Redis, opened when they are first needed, closed with the run."""

    _stack: ExitStack = PrivateAttr(default_factory=ExitStack)
    _pool: Any = PrivateAttr(default=None)
    _redis: Any = PrivateAttr(default=None)
    _settings: Any = PrivateAttr(default=None)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Close what was opened."""
        del context
        self._stack.close()
        self._pool = self._redis = None

    @property
    def settings(self) -> Settings:
        """The settings of this process."""
        from analytics_pipelines.settings import load_settings

        if self._settings is None:
            self._settings = load_settings()
        return self._settings

    @property
    def pool(self) -> ConnectionPool:
        """A pool of runtime sessions."""
        from analytics_pipelines.connections import open_pool

        if self._pool is None:
            self._pool = self._stack.enter_context(open_pool(self.settings))
        return self._pool

    @property
    def redis(self) -> Redis:
        """A client of the online store."""
        from analytics_pipelines.connections import open_redis

        if self._redis is None:
            self._redis = self._stack.enter_context(open_redis(self.settings))
        return self._redis

    def pin(self, context: AssetExecutionContext | AssetCheckExecutionContext | OpExecutionContext) -> int:
        """Return the position that this run builds to."""
        from analytics_pipelines import progress

        return progress.pin(self.pool, context.run.run_id)

    @contextmanager
    def build(
        self, context: AssetExecutionContext, asset_key: AssetKey | None = None, *, is_made: bool = False
    ) -> Generator[Build]:
        """Open the transaction in which an asset is built: all of it and its account commit, or nothing does.

        Another run that builds the same asset waits until this one has ended.

        Args:
            context: the run's step.
            asset_key: the asset; the step's own unless given.
            is_made: it has been made already, by whoever minds what holds it back.

        Raises:
            PipelinesError: as for `build_together`.
        """
        key = context.asset_key if asset_key is None else asset_key
        with self.build_together(context, [key], is_made=is_made) as builds:
            yield builds[key]

    @contextmanager
    def build_together(
        self, context: AssetExecutionContext, asset_keys: Iterable[AssetKey], *, is_made: bool = False
    ) -> Generator[dict[AssetKey, Build]]:
        """Open the one transaction in which several assets are built; as `build` otherwise.

        Raises:
            PipelinesError: something that they are made of fails a test that holds back what is built of it.
        """
        from analytics_pipelines import progress

        position = self.pin(context)
        specs = context.assets_def.specs_by_key
        with self.pool.connection() as connection, connection.transaction():
            keys = sorted(asset_keys)  # in one order, so that two runs never wait for each other in a circle
            for key in keys:
                progress.lock_asset(connection, key.to_user_string())
            progress.set_position(connection, position)
            if not is_made:
                _refuse_broken(context, keys, progress.broken(connection))
            yield {
                key: Build(connection, key, position, context.run.run_id, specs[key].code_version or "") for key in keys
            }

    @contextmanager
    def reading(self, context: AssetCheckExecutionContext) -> Generator[Connection]:
        """Open a transaction for a check, at the position that the run builds to."""
        from analytics_pipelines import progress

        position = self.pin(context)
        with self.pool.connection() as connection, connection.transaction():
            progress.set_position(connection, position)
            yield connection


def _refuse_broken(context: AssetExecutionContext, keys: Sequence[AssetKey], broken: set[str]) -> None:
    """Refuse to build upon what fails a test, also in a run that was not asked to build that."""
    if broken:
        job = cast("JobScopedAssetGraph", context.job_def.asset_layer.asset_graph)  # of what runs alone
        made_of = AssetSelection.assets(*keys).upstream().resolve(job.source_asset_graph)
        if found := sorted(broken & {key.to_user_string() for key in made_of}):
            raise PipelinesError(
                f"{', '.join(found)}: a test fails that holds back what is built of it; run it again first"
            )


def nothing_breaks(
    context: AssetCheckExecutionContext,
    platform: Platform,
    query: LiteralString,
    values: Mapping[str, Any] | None = None,
) -> AssetCheckResult:
    """Tell whether a query of the rows that break a rule finds none, and some of those it finds."""
    with platform.reading(context) as connection:
        broken = connection.execute(query, values).fetchall()
    return AssetCheckResult(passed=not broken, metadata={"broken": len(broken), "examples": str(broken[:5])})


def column_schema(connection: Connection, table: str) -> TableSchema:
    """Return the columns of a table or view with their types and comments."""
    columns = connection.execute(_COLUMNS, [table]).fetchall()
    return TableSchema(columns=[TableColumn(name=name, type=kind, description=text) for name, kind, text in columns])


def _rows_by_tenant(connection: Connection, table: str) -> dict[str, int]:
    from psycopg import sql

    query = sql.SQL("select tenant_id, count(*) from {} group by tenant_id order by tenant_id")
    return dict(connection.execute(query.format(sql.Identifier(*table.split(".")))).fetchall())


def _watermarks(connection: Connection, tenants: Mapping[str, int]) -> dict[str, str | None]:
    rows = connection.execute("select t, progress.watermark(t)::text from unnest(%s::text[]) as t", [list(tenants)])
    return dict(rows.fetchall())


def _preview(connection: Connection, table: str) -> str:
    from psycopg import sql

    query = sql.SQL("select * from {} limit {}").format(sql.Identifier(*table.split(".")), PREVIEW_ROWS)
    cursor = connection.execute(query)
    names = [column.name for column in cursor.description or ()]
    lines = [names, ["---"] * len(names), *([_cell(value) for value in row] for row in cursor.fetchall())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    shown = text if len(text) <= PREVIEW_WIDTH else text[: PREVIEW_WIDTH - 3] + "..."
    return shown.replace("|", "\\|").replace("\n", " ")
