"""What a customer bought."""

from analytics_pipelines.read_models.columns import (
    Outermost,
    count,
    distinct_count,
    earliest,
    last,
    latest,
    maximum,
    ratio,
    top,
    total,
    values,
)
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.order_state import ONLINE, REVENUE

KNOWN = ("customer_registered", "customer_updated")


def _known(name: str, description: str) -> Outermost:
    return last(name, "text", description, *KNOWN, where=f"data ->> '{name}' is not null")


MODEL = ReadModel(
    name="customer_profile",
    grain="One row per tenant and customer: what it bought. Cancelled orders count; currencies are not told apart.",
    key={"customer_id": "The customer"},
    columns=(
        earliest("registered_at", "When the customer became known (UTC)", "customer_registered"),
        _known("age_band", "Age band, in the producer's words"),
        _known("income_band", "Income band, in the producer's words"),
        _known("home_ownership", "Home ownership, in the producer's words"),
        _known("marital_status", "Marital status, in the producer's words"),
        _known("household_size", "Size of the household, in the producer's words"),
        _known("household_composition", "Who lives there, in the producer's words"),
        _known("children", "Children, in the producer's words"),
        _known("region", "Region of sale"),
        last("sales_representative_id", "text", "Who looks after the customer", "sales_representative_assigned"),
        count("campaigns_received", "Campaigns sent to the customer, outside e-mail", "campaign_sent"),
        count("orders", "Orders placed", "order_placed"),
        total("revenue", "Revenue of the orders placed, in their currency", "order_placed", value=REVENUE),
        ratio("revenue_per_order", "Revenue per order", "revenue", "orders"),
        maximum("largest_order", "numeric", "The largest revenue of an order", "order_placed",
                value=REVENUE),
        count("orders_online", "Orders placed online", "order_placed", where=ONLINE),
        values("currencies", "Currencies of the orders, ISO 4217 codes", "order_placed", value="data ->> 'currency'"),
        top("favourite_stores", "Stores of most orders", "order_placed", value="data ->> 'store_id'"),
        earliest("first_order_at", "First order (UTC)", "order_placed"),
        latest("last_order_at", "Newest order (UTC)", "order_placed"),
        count("coupons_redeemed", "Coupons redeemed", "coupon_redeemed"),
        distinct_count("coupon_campaigns", "Different campaigns of these", "coupon_redeemed",
                       value="data ->> 'campaign_id'"),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            *KNOWN, "sales_representative_assigned", "campaign_sent", "order_placed", "coupon_redeemed",
        ),
    ),
)  # fmt: skip
