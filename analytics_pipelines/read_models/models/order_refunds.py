"""What of an order was given back, and when."""

from analytics_pipelines.read_models.columns import count, total
from analytics_pipelines.read_models.declaration import ReadModel

MODEL = ReadModel(
    name="order_refunds",
    grain="One row per tenant, order and UTC day on which money of it was given back.",
    key={"order_id": "The order", "refunded_on": "The UTC day, as YYYY-MM-DD"},
    keys={"order_refunded": ("data ->> 'order_id'", "to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD')")},
    columns=(
        count("refunds", "How often money was given back that day", "order_refunded"),
        total("refunded_amount", "How much, in the order's currency", "order_refunded",
              value="(data ->> 'amount')::numeric"),
    ),
)  # fmt: skip
