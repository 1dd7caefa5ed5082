"""The daily series: the table `forecasts.series`.

Defines which series there are, and which days they have. Add a series here as one more insert. No model here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

DAILY_REVENUE = "daily_revenue"

# A day without a row had no revenue: it counts, as 0. The day of the watermark is not over, so it is left out.
_DAILY_REVENUE = """
    insert into forecasts.series (tenant_id, series, unit, day, value)
    with spans as (
        select
            tenant_id,
            currency,
            min(revenue_on) as first_day,
            (progress.watermark(tenant_id) at time zone 'UTC')::date - 1 as last_day
        from marts.fct_daily_revenue
        where revenue <> 0
        group by tenant_id, currency
    ),
    days as (
        select tenant_id, currency, first_day + number as revenue_on
        from spans
        cross join lateral generate_series(0, last_day - first_day) as number
    )
    select tenant_id, %(series)s, currency, revenue_on, coalesce(revenue, 0)
    from days
    left join marts.fct_daily_revenue using (tenant_id, currency, revenue_on)
"""


def refresh(connection: Connection) -> None:
    """Replace all series of all tenants.

    A series runs from its first day with revenue to the last day that was over at the tenant's watermark.

    Args:
        connection: the session; everything happens in its transaction.
    """
    connection.execute("delete from forecasts.series")
    connection.execute(_DAILY_REVENUE, {"series": DAILY_REVENUE})
