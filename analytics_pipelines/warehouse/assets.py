"""The dbt models as assets and the dbt tests as their checks; beside them the marts that SQL cannot make.

Defines one asset function for all models: dbt's start-up costs seconds, so a run calls it once, however many models are
selected. Everything shown of them comes from the dbt project; what a model means is said there. The reports on it are
no part of a build.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    Config,
    MaterializeResult,
    MetadataValue,
    TableColumn,
    TableColumnConstraints,
    TableSchema,
    asset,
    multi_asset,
)
from pydantic import Field

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.resources import Platform
from analytics_pipelines.warehouse import lifetime_value
from analytics_pipelines.warehouse.manifest import DataTest, Model, load_models

if TYPE_CHECKING:
    from analytics_pipelines.warehouse.dbt import NodeResult

MODELS = load_models()


def asset_spec(model: Model) -> AssetSpec:
    """Describe a model as an asset: group by schema, columns, owners, and the version of its code."""
    columns = [
        TableColumn(column.name, column.data_type, column.description, TableColumnConstraints(column.is_nullable))
        for column in model.columns
    ]
    return AssetSpec(
        key=AssetKey(model.key),
        deps=[AssetKey(key) for key in model.upstream],
        description=model.description,
        group_name=model.key[0],
        code_version=model.code_version,
        owners=list(model.owners),
        tags=dict.fromkeys(model.tags, ""),
        kinds={"dbt", "postgres", model.materialization},
        metadata={
            "dagster/column_schema": TableSchema(columns),
            "dagster/table_name": ".".join(model.key),
            "pipelines/events": list(model.events),
        },
    )


def check_spec(model: Model, test: DataTest) -> AssetCheckSpec:
    """Describe a test as a check of its model.

    Not as a blocking one: for that Dagster fails the step, and with it all that Python makes of any mart. dbt holds
    back the models that descend from this one, and `Platform` what Python makes of them.
    """
    return AssetCheckSpec(test.name, asset=AssetKey(model.key), description=test.description)


def check_result(model: Model, test: DataTest, result: "NodeResult") -> AssetCheckResult:
    """Tell what a test found."""
    return AssetCheckResult(
        asset_key=AssetKey(model.key),
        check_name=test.name,
        passed=result.status == "pass",
        severity=AssetCheckSeverity.ERROR if test.is_blocking else AssetCheckSeverity.WARN,
        description=result.message or None,
        metadata={"failing_rows": result.failures, "seconds": round(result.seconds, 3)},
    )


class Rebuild(Config):
    """What a run makes anew beside what new events touched; nothing unless it is given in the launchpad."""

    first_day: str | None = Field(default=None, description="First UTC day whose rows are made anew, as 2017-03-01.")
    last_day: str | None = Field(default=None, description="Last UTC day whose rows are made anew.")
    whole: bool = Field(default=False, description="Make every row of the selected marts anew.")


@multi_asset(
    name="warehouse",
    specs=[asset_spec(model) for model in MODELS],
    check_specs=[check_spec(model, test) for model in MODELS for test in model.tests],
    can_subset=True,
)
def warehouse(
    context: AssetExecutionContext, config: Rebuild, platform: Platform
) -> Iterator[MaterializeResult[Any] | AssetCheckResult]:
    """Build the selected models and run the selected tests, all in one dbt process."""
    from analytics_pipelines import progress
    from analytics_pipelines.warehouse import dbt

    models = {model.unique_id: model for model in MODELS if AssetKey(model.key) in context.selected_asset_keys}
    chosen = {key.name for key in context.selected_asset_check_keys}
    tests = {test.unique_id: (model, test) for model in MODELS for test in model.tests if test.name in chosen}
    with platform.pool.connection() as connection:
        failed = progress.failed_tests(connection)
    # Not chosen, as it is left to the night or is that of a mart that is not, and failed last: nothing is built on a
    # mart that still breaks it.
    again = {
        test.unique_id: test.name
        for model in with_ancestors(models.values())
        for test in model.tests
        if test.name in failed - chosen
    }
    names = {model.name for model in models.values()} | chosen | set(again.values())
    days = [date.fromisoformat(day) if day else None for day in (config.first_day, config.last_day)]
    extent, run_id = dbt.Extent(*days, whole=config.whole), context.run.run_id
    position, is_fruitless = platform.pin(context), True
    for result in dbt.build(platform.settings, sorted(names), up_to_position=position, extent=extent, run_id=run_id):
        if result.unique_id in tests and result.status != "skipped":
            yield check_result(*tests[result.unique_id], result)
        elif result.unique_id in models and result.status == "success":
            yield materialized(context, platform, models[result.unique_id], result.seconds)
        if result.status == "pass":
            again.pop(result.unique_id, None)
        is_fruitless = is_fruitless and not (result.unique_id in models and result.status == "success")
    if again:
        held_back = f"still failing: {', '.join(sorted(again.values()))}; nothing was built of what they test"
        if is_fruitless:
            raise PipelinesError(held_back)
        context.log.error(held_back)


def with_ancestors(models: Iterable[Model]) -> list[Model]:
    """Return models and all that these are made of."""
    by_key = {model.key: model for model in MODELS}
    found: dict[str, Model] = {}
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model.name not in found:
            found[model.name] = model
            waiting += [by_key[key] for key in model.upstream if key in by_key]
    return list(found.values())


def materialized(
    context: AssetExecutionContext, platform: Platform, model: Model, seconds: float
) -> MaterializeResult[Any]:
    """Show what dbt has built and accounted for."""
    with platform.build(context, AssetKey(model.key), is_made=True) as build:
        if model.materialization == "view":
            return build.view_result(seconds=seconds)
        return build.accounted_result(seconds=seconds)


@multi_asset(
    specs=[
        AssetSpec(
            key=["marts", name],
            deps=[["marts", "fct_orders"]],
            group_name="marts",
            kinds={"python", "postgres"},
            owners=["team:analytics"],
            tags={"bi": "", "customers": ""},
            code_version=lifetime_value.VERSION,
            description=description,
        )
        for name, description in lifetime_value.TABLES.items()
    ]
)
def lifetime_values(context: AssetExecutionContext, platform: Platform) -> Iterator[MaterializeResult[Any]]:
    """Fit how customers buy, per tenant and currency, and predict what each will bring."""
    from analytics_pipelines import progress

    with platform.build_together(context, context.selected_asset_keys) as builds:
        connection = next(iter(builds.values())).connection
        inputs = progress.changes(connection, ["marts.fct_orders"])
        found = lifetime_value.outlooks(connection)
        lifetime_value.replace(connection, found)
        models = MetadataValue.json(lifetime_value.summary(found))
        results = [build.result(inputs=inputs, models=models) for build in builds.values()]
    yield from results


@asset(
    key=["reports", "database"],
    group_name="reports",
    kinds={"postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def database_report(platform: Platform) -> MaterializeResult[Any]:
    """One report: the statements that took the most time, with plans, unused indexes, tables read from end to end."""
    from analytics_pipelines.warehouse import database_report as room

    with platform.pool.connection() as connection:
        report = room.read(connection)
    return MaterializeResult(
        metadata={
            "report": MetadataValue.md(room.markdown(report)),
            "statements_are_counted": report.statements is not None,
            "unused_indexes": len(report.unused_indexes),
            "scanned_tables": len(report.scanned_tables),
        }
    )


@asset(
    key=["reports", "dbt_docs"],
    deps=[AssetKey(model.key) for model in MODELS],
    group_name="reports",
    kinds={"dbt"},
    owners=["team:analytics"],
    code_version="2",
)
def dbt_docs(platform: Platform) -> MaterializeResult[Any]:
    """One HTML file: every model and column, its tests, and what it is made of, as dbt documents them."""
    from analytics_pipelines.warehouse import dbt

    path, url = dbt.write_docs(platform.settings), platform.settings.docs_url
    link = {"open": MetadataValue.url(url)} if url else {}
    return MaterializeResult(metadata={"path": MetadataValue.path(path), **link})


ASSETS = [warehouse, lifetime_values, database_report, dbt_docs]
