"""Pictures and words of forecasts: every series finds its place, short ones too."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from analytics_pipelines.forecasting import forecasts, models, pictures


def outlook(days: int) -> forecasts.Outlook:
    """Make the outlook of a series of so many days."""
    values = [100.0 + day % 7 + day % 3 for day in range(days)]
    dates = [date(2024, 1, 1) + timedelta(days=day) for day in range(days)]
    return forecasts.Outlook("acme", "daily_revenue", "EUR", dates, values, models.forecast(values))


@pytest.mark.parametrize("days", [1, 20, 200])
def test_a_series_of_any_length_is_drawn_and_small(days: int) -> None:
    """One day, three weeks and more than is shown are drawn as a PNG inside markdown, below 120 kB."""
    text = pictures.markdown([outlook(days)])

    assert text.startswith("![")
    assert "data:image/png;base64,iVBOR" in text
    assert len(text) < 120_000


def test_no_series_is_said() -> None:
    """A platform without revenue gets a sentence instead of a picture."""
    assert pictures.markdown([]) == "There is no series yet."


def test_a_series_without_forecast_says_why() -> None:
    """The reason stands beside the models of the others."""
    assert forecasts.summary([outlook(13)]) == {
        "acme, daily revenue, EUR": "no forecast: 13 days, at least 14 are needed"
    }
    assert forecasts.summary([outlook(20)])["acme, daily revenue, EUR"].startswith("seasonal_naive on 20 days")
