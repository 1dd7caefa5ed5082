"""Forecasts of one series: patterns come out, intervals hold, and odd series do no harm."""

from __future__ import annotations

import numpy as np
import pytest

from analytics_pipelines.forecasting import models

PATTERN = np.array([0.0, 10.0, 20.0, 40.0, 60.0, -30.0, -50.0])


def simulated(days: int, seed: int, *, noise: float = 10.0, drift: float = 1.5) -> np.ndarray:
    """Make a series with a weekly pattern on a level that wanders, by the model's own law."""
    chance = np.random.default_rng(seed)
    level = 300 + np.cumsum(chance.normal(0, drift, days))
    return level + PATTERN[np.arange(days) % 7] + chance.normal(0, noise, days)


def forecast(values: np.ndarray) -> models.Forecast:
    """Forecast a series that is long enough to be."""
    found = models.forecast(values.tolist())
    assert found is not None
    return found


@pytest.mark.parametrize("days", [70, 73, 100])
def test_the_weekly_pattern_is_recovered(days: int) -> None:
    """Every weekday ahead gets its own height, whatever weekday the series ends on."""
    values = simulated(days, seed=1, noise=1.0, drift=0.0)

    found = forecast(values)

    expected = 300 + PATTERN[np.arange(days, days + models.HORIZON) % 7]
    assert found.mean == pytest.approx(expected.tolist(), abs=3.0)
    assert found.model == "ETS(A,N,A)"
    assert found.error_ratio is not None
    assert found.error_ratio < 0.9


@pytest.mark.parametrize(("days", "least"), [(35, 0.87), (120, 0.90)])
def test_intervals_hold_as_often_as_they_say(days: int, least: float) -> None:
    """Over 15 simulated futures, about 95 % of the days fall into the interval: not much less, and not all of them."""
    inside = []
    for seed in range(15):
        values = simulated(days + models.HORIZON, seed)
        found = forecast(values[:days])
        inside.append((values[days:] >= found.lower) & (values[days:] <= found.upper))

    assert least <= np.mean(inside) <= 0.985


def test_intervals_widen_with_the_days_ahead() -> None:
    """A level that wanders is known less, the further ahead."""
    found = forecast(simulated(200, seed=3, drift=8.0))

    assert found.upper[28] - found.lower[28] > 1.5 * (found.upper[0] - found.lower[0])


def test_a_trend_is_followed() -> None:
    """A series that climbs steadily is expected to climb on, for a while."""
    values = simulated(90, seed=4, noise=3.0, drift=0.0) + 5.0 * np.arange(90)

    found = forecast(values)

    assert found.model == "ETS(A,Ad,A)"
    assert np.mean(found.mean[7:14]) > np.mean(values[-7:]) + 20


@pytest.mark.parametrize("values", [np.full(60, 5.0), np.zeros(60), np.tile(PATTERN + 100, 9), np.full(14, 5.0)])
def test_a_series_that_repeats_itself_is_repeated(values: np.ndarray) -> None:
    """Constant and exactly periodic series go on as they were, with no width to the interval and no figure of error."""
    found = forecast(values)

    expected = [values[-7 + ahead % 7] for ahead in range(models.HORIZON)]
    assert found.model == "seasonal_naive"
    assert found.mean == found.lower == found.upper == expected
    assert found.error_ratio is None


@pytest.mark.parametrize("days", [0, 1, 13])
def test_less_than_two_weeks_are_not_forecast(days: int) -> None:
    """There is no week to compare a week with."""
    assert models.forecast([1.0] * days) is None


def test_short_series_repeat_the_last_week() -> None:
    """From 14 to 27 days the last week is repeated, with an interval that widens week by week."""
    values = simulated(27, seed=5)

    found = forecast(values)

    assert found.model == "seasonal_naive"
    assert found.mean == pytest.approx([values[-7 + ahead % 7] for ahead in range(models.HORIZON)])
    width = np.subtract(found.upper, found.lower)
    assert width[7] == pytest.approx(width[0] * 2**0.5)
    assert width[0] == pytest.approx(2 * 1.959964 * np.sqrt(np.mean((values[7:] - values[:-7]) ** 2)))
    assert forecast(simulated(28, seed=5)).model.startswith("ETS")


def test_nothing_falls_below_zero() -> None:
    """Revenue is never negative; neither is what is expected of it."""
    chance = np.random.default_rng(6)
    values = np.where(chance.random(120) < 0.2, chance.gamma(2, 4000, 120), 0.0)

    found = forecast(values)

    assert min(found.lower) == 0.0
    assert all(0 <= low <= mean <= high for low, mean, high in zip(found.lower, found.mean, found.upper, strict=True))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_no_number_is_no_value(broken: float) -> None:
    """A series with a hole is refused: to fill it is the business of who made the series."""
    with pytest.raises(ValueError, match="finite"):
        models.forecast([*simulated(60, seed=7).tolist(), broken])


def test_the_currency_decides_nothing() -> None:
    """The same series in cents or in millions gives the same forecast in cents or in millions."""
    values = simulated(150, seed=8)
    found, large = forecast(values), forecast(values * 1e6)

    assert large.mean == pytest.approx((np.array(found.mean) * 1e6).tolist(), rel=1e-6)
    assert large.upper == pytest.approx((np.array(found.upper) * 1e6).tolist(), rel=1e-6)


def test_the_same_values_give_the_same_forecast() -> None:
    """A forecast is a function of the values, to the last bit."""
    assert forecast(simulated(150, seed=9)) == forecast(simulated(150, seed=9))
