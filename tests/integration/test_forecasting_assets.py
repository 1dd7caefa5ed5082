"""The forecasting assets and checks, run by Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetSelection, DagsterInstance, ExecuteInProcessResult, materialize

from analytics_pipelines.forecasting.assets import ASSETS
from analytics_pipelines.forecasting.checks import CHECKS
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    import pytest
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

_INPUTS = """
    create table marts.fct_daily_revenue as
    select 'shop' as tenant_id, date '2024-01-01' + n as revenue_on, 'USD' as currency,
        1000.0 + n % 7 * 50 + n % 11 as revenue
    from generate_series(0, 69) as n;
    insert into progress.watermarks (tenant_id, position, watermark) values ('shop', 0, '2024-03-10 08:00Z');
"""


def run(instance: DagsterInstance, selection: AssetSelection) -> ExecuteInProcessResult:
    """Run assets and checks of forecasting in this process."""
    return materialize([*ASSETS, *CHECKS], selection=selection, instance=instance, resources={"platform": Platform()})


def broken(result: ExecuteInProcessResult) -> set[str]:
    """Return the names of the checks that did not pass."""
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def test_forecasts_are_built_and_their_checks_see_what_is_broken(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both assets materialize with a picture, all checks pass; each check fails once its rows are damaged."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    with database.connection() as connection:
        connection.execute(_INPUTS)

    with DagsterInstance.ephemeral() as instance:
        result = run(instance, AssetSelection.all())
        shown = {
            event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }
        assert broken(result) == set()
        assert {key: metadata["dagster/row_count"].value for key, metadata in shown.items()} == {
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
            assert broken(run(instance, AssetSelection.checks(*CHECKS))) == seen
