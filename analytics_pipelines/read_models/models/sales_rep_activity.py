"""What a sales representative does."""

from analytics_pipelines.read_models.columns import (
    count,
    distinct_count,
    earliest,
    last,
    latest,
    maximum,
    ratio,
    total,
)
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.order_state import REVENUE

_AMOUNT = "(data ->> 'amount')::numeric"
_REGION = ("sales_representative_registered", "sales_representative_transferred")
_RATE = ("sales_representative_registered", "commission_rate_changed")
_WORK = (
    "sales_representative_assigned", "lead_assigned", "meeting_scheduled", "meeting_held", "deal_opened", "deal_won",
    "deal_lost", "order_placed",
)  # fmt: skip

MODEL = ReadModel(
    name="sales_rep_activity",
    grain=(
        "One row per tenant and sales representative: what they do and what it brings. Deals won and lost count where "
        "their event names the representative. Cancelled orders count; currencies are not converted."
    ),
    key={"sales_representative_id": "The sales representative"},
    by_day=True,
    columns=(
        last("region", "text", "Region of sale", *_REGION),
        last("commission_rate", "numeric", "Share of the revenue they get now, 0 to 1", *_RATE),
        earliest("registered_at", "When they began to sell (UTC)", "sales_representative_registered"),
        count("leads_assigned", "Leads given to them; a lead given twice counts twice", "lead_assigned"),
        count("customers_assigned", "Customers given to them; likewise", "sales_representative_assigned"),
        count("meetings_scheduled", "Meetings agreed", "meeting_scheduled"),
        count("meetings_held", "Meetings that took place", "meeting_held"),
        total("meeting_seconds", "Seconds in meetings, of those whose length is known", "meeting_held",
              value="(data ->> 'duration_ms')::numeric / 1000"),
        count("deals_opened", "Deals opened", "deal_opened"),
        total("opened_amount", "What these were expected to bring", "deal_opened", value=_AMOUNT),
        count("deals_won", "Deals won", "deal_won"),
        total("won_amount", "What these brought", "deal_won", value=_AMOUNT),
        maximum("largest_deal", "numeric", "The largest amount of a deal won", "deal_won", value=_AMOUNT),
        count("deals_lost", "Deals lost", "deal_lost"),
        count("deals_closed", "Deals won or lost", "deal_won", "deal_lost"),
        ratio("win_rate", "Deals won per deal won or lost", "deals_won", "deals_closed"),
        count("orders", "Orders placed through them", "order_placed"),
        total("revenue", "Revenue of these orders", "order_placed", value=REVENUE),
        ratio("revenue_per_order", "Revenue per order", "revenue", "orders"),
        distinct_count("active_days", "Days (UTC) on which they did any of this", *_WORK,
                       value="to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD')"),
        latest("last_event_at", "Newest event of the row (UTC)", *_REGION, "commission_rate_changed", *_WORK),
    ),
)  # fmt: skip
