"""The daily series: the table `forecasts.series`.

Defines which series there are, and which days they have. Add a series here as one more insert. No model here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

DAILY_REVENUE = "daily_revenue"

# The mart has a row for every day up to the watermark's. That one is not over, so it is left out.
_DAILY_REVENUE = """
    insert into forecasts.series (tenant_id, series, unit, day, value)
    with spans as (
        select
            tenant_id,
            currency,
            min(revenue_on) as first_day,
            (progress.watermark(tenant_id) at time zone 'UTC')::date as today
        from marts.fct_daily_revenue
        where revenue <> 0
        group by tenant_id, currency
    )
    select tenant_id, %(series)s, currency, revenue_on, revenue
    from spans
    join marts.fct_daily_revenue using (tenant_id, currency)
    where revenue_on >= first_day and revenue_on < today
"""


def refresh(connection: Connection) -> None:
    """Replace all series of all tenants.

    A series runs from its first day with revenue to the last day that was over at the tenant's watermark.

    Args:
        connection: the session; everything happens in its transaction.
    """
    connection.execute("delete from forecasts.series")
    connection.execute(_DAILY_REVENUE, {"series": DAILY_REVENUE})
