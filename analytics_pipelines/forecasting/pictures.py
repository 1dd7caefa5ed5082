"""Pictures of forecasts for the catalog.

Defines how a series, its forecast and the interval look. No numbers are computed here.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from analytics_pipelines.forecasting.models import LEVEL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from analytics_pipelines.forecasting.forecasts import Outlook

PICTURES = 4
"""How many series are drawn, the first: metadata is kept with every run."""

HISTORY_DAYS = 120

_HISTORY = "#4a5160"
_FORECAST = "#3563d0"
_INK = "#2b2f36"


def markdown(found: Sequence[Outlook]) -> str:
    """Draw the first series as one image inside a markdown text."""
    drawn = found[:PICTURES]
    if not drawn:
        return "There is no series yet."
    image = base64.b64encode(png(drawn)).decode()
    return f"![The last {HISTORY_DAYS} days and the forecast](data:image/png;base64,{image})"


def png(found: Sequence[Outlook]) -> bytes:
    """Draw each series' last days, its forecast and the prediction interval, one panel below the other."""
    figure = Figure(figsize=(9.6, 2.9 * len(found)), dpi=80, facecolor="white", layout="constrained")
    for axes, outlook in zip(figure.subplots(len(found), squeeze=False)[:, 0], found, strict=True):
        _draw(axes, outlook)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _draw(axes: Axes, outlook: Outlook) -> None:
    days = _numbers(outlook.days[-HISTORY_DAYS:])
    axes.plot(days, outlook.values[-HISTORY_DAYS:], color=_HISTORY, linewidth=1.3, label="observed")
    title = f"{outlook.name}: too short to be forecast"
    if outlook.forecast is not None:
        forecast = outlook.forecast
        ahead = _numbers([outlook.day_ahead(horizon) for horizon in range(1, len(forecast.mean) + 1)])
        title = f"{outlook.name}: the next {len(ahead)} days by {forecast.model}"
        axes.fill_between(
            ahead,
            forecast.lower,
            forecast.upper,
            color=_FORECAST,
            alpha=0.16,
            linewidth=0,
            label=f"{LEVEL:.0%} of days should fall here",
        )
        axes.plot(ahead, forecast.mean, color=_FORECAST, linewidth=1.8, label="forecast")
        axes.axvline(days[-1], color="#9aa0a6", linewidth=0.8, linestyle=(0, (3, 3)))
        axes.legend(loc="upper left", ncols=3, fontsize=8, frameon=False, labelcolor=_INK)
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.12)
    axes.margins(x=0.01)
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b4bac4")


def _numbers(days: Sequence[date]) -> NDArray[np.float64]:
    """Return days as the numbers that matplotlib draws them at."""
    return date2num(days)
