"""What must be true of the forecasting tables.

Defines the checks that the database's own constraints cannot make, each as a query of the rows that break it.
"""

from dagster import AssetCheckExecutionContext, AssetCheckResult, asset_check

from analytics_pipelines.resources import Platform, nothing_breaks

_GAPS = """
    select tenant_id, series, unit, count(*), min(day), max(day)
    from forecasts.series
    group by tenant_id, series, unit
    having count(*) <> max(day) - min(day) + 1
"""

_WRONG_HORIZON = """
    select tenant_id, series, unit, observed.last_day, ahead.days, ahead.first_day
    from (
        select tenant_id, series, unit, max(day) as last_day, count(*) as days
        from forecasts.series
        group by tenant_id, series, unit
    ) as observed
    full join (
        select tenant_id, series, unit, min(day) as first_day, count(*) as days
        from forecasts.forecasts as expected
        where not exists (
            select from forecasts.series as observed
            where (observed.tenant_id, observed.series, observed.unit, observed.day)
                = (expected.tenant_id, expected.series, expected.unit, expected.day)
        )
        group by tenant_id, series, unit
    ) as ahead using (tenant_id, series, unit)
    where (ahead.first_day, ahead.days) is distinct from (observed.last_day + 1, %(horizon)s::bigint)
        and (observed.days >= %(minimum_days)s or observed.days is null or ahead.days is not null)
"""

_OUTSIDE_INTERVAL = """
    select tenant_id, series, unit, day, lower, mean, upper
    from forecasts.forecasts
    where not (0 <= lower and lower <= mean and mean <= upper and upper < 'infinity')
"""


@asset_check(asset=["forecasts", "series"], name="no_day_is_missing")
def no_day_is_missing(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """A series has every day from its first to its last."""
    return nothing_breaks(context, platform, _GAPS)


@asset_check(asset=["forecasts", "forecasts"], name="thirty_days_from_the_last_one")
def thirty_days_from_the_last_one(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """Every series of 14 days and more is forecast for 30 days, beginning with the day after its last one."""
    from analytics_pipelines.forecasting.models import HORIZON, MINIMUM_DAYS

    return nothing_breaks(context, platform, _WRONG_HORIZON, {"horizon": HORIZON, "minimum_days": MINIMUM_DAYS})


@asset_check(asset=["forecasts", "forecasts"], name="mean_within_interval")
def mean_within_interval(context: AssetCheckExecutionContext, platform: Platform) -> AssetCheckResult:
    """0 <= lower <= mean <= upper, and all are finite."""
    return nothing_breaks(context, platform, _OUTSIDE_INTERVAL)


CHECKS = [no_day_is_missing, thirty_days_from_the_last_one, mean_within_interval]
