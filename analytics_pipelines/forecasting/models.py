"""The models: one series in, a forecast with prediction intervals out.

Defines `forecast()` and the models it chooses from. Add a model here as a function of the values alone; no tables, no
dates, no Dagster. Same values, same forecast.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WEEK = 7
HORIZON = 30
"""Days ahead."""

LEVEL = 0.95
"""The share of days that should fall into the prediction interval."""

MINIMUM_DAYS = 2 * WEEK
"""With less, there is no week to compare a week with, and no forecast."""

SMOOTHING_DAYS = 4 * WEEK
"""With less, smoothing would fit its own starting values: the seasonal naive forecast is used."""

_NORMAL_QUANTILE = 1.959963984540054
"""Of LEVEL, both sides."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What to expect of a series on each of the next days.

    Attributes:
        model: which model it is from.
        mean: the expected values, from the day after the last one.
        lower: the lower ends of the prediction intervals.
        upper: the upper ends.
        error_ratio: how far the model was off one day ahead within the series it was fitted to, on average, divided by
            how far "as a week ago" was; below 1 is better. None where that was never off. No figure of the future.
    """

    model: str
    mean: list[float]
    lower: list[float]
    upper: list[float]
    error_ratio: float | None


@dataclass(frozen=True, slots=True)
class _Fit:
    model: str
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    residuals: NDArray[np.float64]


def forecast(values: Sequence[float]) -> Forecast | None:
    """Forecast the next HORIZON days of a series that is never negative.

    Exponential smoothing with a weekly pattern, and with a damped trend if Akaike's criterion (corrected for short
    series) asks for one. A series that is short, or repeats itself exactly, is continued as it was a week ago.

    Args:
        values: one value a day, without gaps, the oldest first.

    Returns:
        The forecast, or None if there are less than MINIMUM_DAYS.

    Raises:
        ValueError: a value is no finite number.
    """
    history = np.asarray(values, dtype=np.float64)
    if not np.isfinite(history).all():
        raise ValueError("a series to forecast must hold finite numbers only")
    if len(history) < MINIMUM_DAYS:
        return None
    weekly_changes = history[WEEK:] - history[:-WEEK]
    smooth = len(history) >= SMOOTHING_DAYS and bool(weekly_changes.any())
    fit = _exponential_smoothing(history) if smooth else _seasonal_naive(history)
    reach = _NORMAL_QUANTILE * fit.deviation
    naive_error = float(np.abs(weekly_changes).mean())
    return Forecast(
        model=fit.model,
        mean=_floored(fit.mean),
        lower=_floored(fit.mean - reach),
        upper=_floored(fit.mean + reach),
        error_ratio=float(np.abs(fit.residuals).mean()) / naive_error if naive_error else None,
    )


def _floored(values: NDArray[np.float64]) -> list[float]:
    return np.maximum(values, 0.0).tolist()


def _seasonal_naive(history: NDArray[np.float64]) -> _Fit:
    """Repeat the last week; the errors of doing so in the past add up with every further week."""
    ahead = np.arange(HORIZON)
    residuals = history[WEEK:] - history[:-WEEK]
    deviation = np.sqrt((residuals**2).mean() * (ahead // WEEK + 1))
    return _Fit("seasonal_naive", history[-WEEK:][ahead % WEEK], deviation, residuals)


def _exponential_smoothing(history: NDArray[np.float64]) -> _Fit:
    import pandas as pd
    from statsmodels.tools.sm_exceptions import ConvergenceWarning
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    # The optimiser's steps and tolerances are absolute: values of the size of 1 suit it whatever the currency.
    shift, scale = history.mean(), history.std()
    scaled = pd.Series((history - shift) / scale)  # ETSModel's intervals need an index
    fits: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # not the optimum to the last digit is still a forecast
        for damped_trend in (False, True):
            model = ETSModel(
                scaled,
                error="add",
                trend="add" if damped_trend else None,
                damped_trend=damped_trend,
                seasonal="add",
                seasonal_periods=WEEK,
            )
            fits[f"ETS(A,{'Ad' if damped_trend else 'N'},A)"] = model.fit(disp=False)
    name, best = min(fits.items(), key=lambda fit: fit[1].aicc)
    # Every fitted parameter takes from the residuals; without the correction, intervals of short series are too narrow.
    freedom = len(scaled) / (len(scaled) - len(best.params))
    ahead = best.get_prediction(start=len(scaled), end=len(scaled) + HORIZON - 1)
    return _Fit(
        name,
        np.asarray(ahead.predicted_mean) * scale + shift,
        np.sqrt(np.asarray(ahead.forecast_variance) * freedom) * scale,
        np.asarray(best.resid) * scale,
    )
