"""What state an order is in."""

from analytics_pipelines.read_models.columns import (
    Derived,
    Move,
    count,
    earliest,
    last,
    latest,
    state_machine,
    total,
)
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.order_refunds import GIVEN_BACK, GIVES_BACK

STORE = "data ->> 'channel' = 'store'"
ONLINE = "data ->> 'channel' <> 'store'"
OPEN = ("pending", "processing")


REVENUE = "read_models.sum_of(data -> 'lines', 'revenue')"
QUANTITY = "read_models.sum_of(data -> 'lines', 'quantity')"


def _seconds(name: str, description: str, from_column: str, to_column: str) -> Derived:
    return Derived(name, "numeric", description, f"extract(epoch from {to_column} - {from_column})")


MODEL = ReadModel(
    name="order_state",
    grain="One row per tenant and order: what state it is in. An order of the channel store is complete when placed.",
    key={"order_id": "The order"},
    columns=(
        last("customer_id", "text", "Who ordered", "order_placed"),
        last("channel", "text", "store or online", "order_placed"),
        last("currency", "text", "ISO 4217 code of all amounts of the row", "order_placed"),
        *state_machine(
            "status",
            {
                "pending": "placed and not paid",
                "processing": "paid, confirmed or on its way",
                "completed": "delivered, or bought at a till",
                "cancelled": "cancelled before delivery",
            },
            Move("order_placed", ("",), "pending", where=ONLINE),
            Move("order_placed", ("",), "completed", where=STORE),
            Move("order_paid", OPEN, "processing"),
            Move("order_confirmed", OPEN, "processing"),
            Move("order_processing_started", OPEN, "processing"),
            Move("order_shipped", OPEN, "processing"),
            Move("order_delivered", OPEN, "completed"),
            Move("order_completed", (*OPEN, "completed"), "completed"),
            Move("order_cancelled", OPEN, "cancelled"),
        ),
        earliest("placed_at", "When it was placed (UTC)", "order_placed"),
        earliest("paid_at", "When it was paid (UTC)", "order_paid"),
        earliest("shipped_at", "When it left (UTC)", "order_shipped"),
        earliest("delivered_at", "When it arrived (UTC)", "order_delivered"),
        earliest("cancelled_at", "When it was cancelled (UTC)", "order_cancelled"),
        earliest("refunded_at", "When money was first given back (UTC)", *GIVES_BACK,
                 where=f"event_type = 'order_refunded' or {GIVEN_BACK} > 0"),
        _seconds("seconds_to_payment", "Seconds from placed to paid", "placed_at", "paid_at"),
        _seconds("seconds_to_shipment", "Seconds from paid to shipped", "paid_at", "shipped_at"),
        _seconds("seconds_to_delivery", "Seconds from shipped to delivered", "shipped_at", "delivered_at"),
        last("cancel_reason", "text", "Why it was cancelled", "order_cancelled", value="data ->> 'reason'"),
        count("payments_failed", "Payments that the payment service refused", "payment_failed"),
        last("lines", "integer", "Lines of the order as placed", "order_placed",
             value="jsonb_array_length(data -> 'lines')"),
        last("quantity", "numeric", "Units over these lines", "order_placed", value=QUANTITY),
        last("revenue", "numeric", "What the seller receives for these lines", "order_placed",
             value=REVENUE),
        count("lines_added", "Lines added before it was paid", "order_line_added"),
        count("lines_removed", "Products taken off before it was paid", "order_line_removed"),
        total("quantity_returned", "Units that came back", "order_line_returned",
              value="(data ->> 'quantity')::numeric"),
        total("paid_amount", "Money received", "order_paid", value="(data ->> 'amount')::numeric"),
        total("refunded_amount", "Money given back, for returned lines or otherwise", *GIVES_BACK, value=GIVEN_BACK),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            "order_placed", "order_paid", "order_confirmed", "order_processing_started", "order_shipped",
            "order_delivered", "order_completed", "order_cancelled", "order_refunded",
            "order_line_added", "order_line_removed", "order_line_returned", "payment_failed",
        ),
    ),
)  # fmt: skip
