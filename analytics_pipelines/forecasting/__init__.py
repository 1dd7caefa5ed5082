"""Forecasting: daily series, and what to expect of them.

`series.py` makes the series in SQL, `models.py` fits one series (numbers in, numbers out), `forecasts.py` does so for
all of them and keeps the result. Add a series as one more insert in `series.py`, a model as a function in `models.py`.
Revenue by day itself is a mart and belongs into the warehouse.
"""
