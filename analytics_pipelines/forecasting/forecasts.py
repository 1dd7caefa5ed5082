"""The forecasts: the table `forecasts.forecasts`.

Defines how every series is read, forecast and written. What a model does stands in `models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from analytics_pipelines.forecasting import models

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg import Connection

    from analytics_pipelines.forecasting.models import Forecast

_READ = """
    select tenant_id, series, unit, day, value::double precision
    from forecasts.series
    order by tenant_id, series, unit, day
"""

# What is not over yet is forecast anew. A day that is over keeps what was forecast for it last, to be compared with it.
_CLEAR = """
    delete from forecasts.forecasts as ahead
    where not exists (
        select from forecasts.series as observed
        where (observed.tenant_id, observed.series, observed.unit, observed.day)
            = (ahead.tenant_id, ahead.series, ahead.unit, ahead.day)
    )
"""

_WRITE = """
    copy forecasts.forecasts
        (tenant_id, series, unit, day, horizon, mean, lower, upper, level, trained_until, model) from stdin
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One series and its forecast, None if the series is too short for one."""

    tenant_id: str
    series: str
    unit: str
    days: list[date]
    values: list[float]
    forecast: Forecast | None

    @property
    def name(self) -> str:
        """The series in words: whose, what, in which unit."""
        return f"{self.tenant_id}, {self.series.replace('_', ' ')}, {self.unit}"

    def day_ahead(self, horizon: int) -> date:
        """Return the day so many days after the last one of the series."""
        return self.days[-1] + timedelta(days=horizon)


def outlooks(connection: Connection) -> list[Outlook]:
    """Read every series from `forecasts.series` and forecast it."""
    found: list[Outlook] = []
    for (tenant_id, series, unit), rows in groupby(connection.execute(_READ).fetchall(), key=itemgetter(0, 1, 2)):
        days, values = zip(*(row[3:] for row in rows), strict=True)
        found.append(Outlook(tenant_id, series, unit, list(days), list(values), models.forecast(values)))
    return found


def replace(connection: Connection, found: Iterable[Outlook]) -> None:
    """Replace the days ahead in `forecasts.forecasts`, in the connection's transaction; those that are over stay."""
    with connection.cursor() as cursor:
        cursor.execute(_CLEAR)
        with cursor.copy(_WRITE) as copy:
            for outlook in found:
                for row in _rows(outlook):
                    copy.write_row(row)


def summary(found: Iterable[Outlook]) -> dict[str, str]:
    """Say in one line per series which model it has and how that did, or why there is no forecast."""
    return {outlook.name: _summary(outlook) for outlook in found}


def _rows(outlook: Outlook) -> Iterator[tuple[object, ...]]:
    forecast = outlook.forecast
    if forecast is None:
        return
    ahead = zip(forecast.mean, forecast.lower, forecast.upper, strict=True)
    for horizon, (mean, lower, upper) in enumerate(ahead, start=1):
        yield (
            outlook.tenant_id,
            outlook.series,
            outlook.unit,
            outlook.day_ahead(horizon),
            horizon,
            mean,
            lower,
            upper,
            models.LEVEL,
            outlook.days[-1],
            forecast.model,
        )


def _summary(outlook: Outlook) -> str:
    if outlook.forecast is None:
        return f"no forecast: {len(outlook.days)} days, at least {models.MINIMUM_DAYS} are needed"
    ratio = outlook.forecast.error_ratio
    compared = "repeats itself exactly" if ratio is None else f"in-sample error {ratio:.2f} of that of 'as a week ago'"
    return f"{outlook.forecast.model} on {len(outlook.days)} days, {compared}"
