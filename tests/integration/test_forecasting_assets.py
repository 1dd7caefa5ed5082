"""The forecasting assets and checks, run by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dagster import AssetSelection

from analytics_pipelines.forecasting.assets import ASSETS
from analytics_pipelines.forecasting.checks import CHECKS

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

_INPUTS = """
    create table marts.fct_daily_revenue as
    select 'shop' as tenant_id, date '2024-01-01' + n as revenue_on, 'USD' as currency,
        1000.0 + n % 7 * 50 + n % 11 as revenue
    from generate_series(0, 69) as n;
    insert into progress.watermarks (tenant_id, position, watermark) values ('shop', 0, '2024-03-10 08:00Z');
"""


def test_forecasts_are_built_and_their_checks_see_what_is_broken(database: ConnectionPool, asset_runs: Any) -> None:
    """Both assets materialize with a picture, all checks pass; each check fails once its rows are damaged."""
    with database.connection() as connection:
        connection.execute(_INPUTS)

    result = asset_runs.run([*ASSETS, *CHECKS])
    shown = asset_runs.metadata(result)
    assert asset_runs.broken(result) == set()
    assert {key: found["dagster/row_count"].value for key, found in shown.items()} == {
        "forecasts/series": 69,
        "forecasts/forecasts": 30,
    }
    assert "data:image/png;base64," in str(shown["forecasts/forecasts"]["picture"].value)

    damages = {
        "update forecasts.forecasts set lower = mean + 1 where horizon = 7": "mean_within_interval",
        "delete from forecasts.forecasts where horizon = 1": "thirty_days_from_the_last_one",
        "delete from forecasts.series where day = '2024-02-01'": "no_day_is_missing",
    }
    seen: set[str] = set()
    for damage, check in damages.items():
        with database.connection() as connection:
            connection.execute(damage)
        seen.add(check)
        assert asset_runs.broken(asset_runs.run([*ASSETS, *CHECKS], AssetSelection.checks(*CHECKS))) == seen
