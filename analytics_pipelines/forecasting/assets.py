"""The assets of forecasting: the daily series and their forecasts.

Defines thin shells only. Which series there are stands in `series.py`, how one is forecast in `models.py`.
"""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from analytics_pipelines.resources import Platform


@asset(
    key=["forecasts", "series"],
    deps=[["marts", "fct_daily_revenue"]],
    group_name="forecasting",
    kinds={"sql", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def series(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, series, unit and day (UTC), without gaps: days without revenue hold 0.

    `daily_revenue` is kept per currency, which is its unit. The day of the tenant's watermark is not over and left out.
    """
    from analytics_pipelines.forecasting.series import refresh

    with platform.build(context) as build:
        refresh(build.connection)
        return build.result()


@asset(
    key=["forecasts", "forecasts"],
    deps=[["forecasts", "series"]],
    group_name="forecasting",
    kinds={"python", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def forecasts(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant, series, unit and day: the value expected of it and its 95 % interval.

    The 30 days ahead are forecast anew; days that are over keep what was forecast for them last, beside their value in
    `series`. Where builds were more than 30 days apart, days between have none.
    Exponential smoothing with a weekly pattern; under 28 days each weekday as a week ago; under 14 days no forecast.
    An interval holds for its day alone, and knows nothing of holidays and campaigns to come.
    """
    from analytics_pipelines.forecasting import forecasts as table
    from analytics_pipelines.forecasting import pictures

    with platform.build(context) as build:
        found = table.outlooks(build.connection)
        table.replace(build.connection, found)
        return build.result(
            picture=MetadataValue.md(pictures.markdown(found)), models=MetadataValue.json(table.summary(found))
        )


ASSETS = [series, forecasts]
