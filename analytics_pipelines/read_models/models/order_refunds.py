"""What of an order was given back, and when."""

from analytics_pipelines.read_models.columns import count, total
from analytics_pipelines.read_models.declaration import ReadModel

DAY = "to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD')"
GIVES_BACK = ("order_refunded", "order_line_returned")
GIVEN_BACK = "(data ->> case event_type when 'order_refunded' then 'amount' else 'refund' end)::numeric"

MODEL = ReadModel(
    name="order_refunds",
    grain=(
        "One row per tenant, order and UTC day on which money of it was given back. The refund of a returned line is "
        "money of its own: a producer that also sends order_refunded for it says 0 there."
    ),
    key={"order_id": "The order", "refunded_on": "The UTC day, as YYYY-MM-DD"},
    keys={
        "order_refunded": ("data ->> 'order_id'", DAY),
        "order_line_returned": ("case when (data ->> 'refund')::numeric > 0 then data ->> 'order_id' end", DAY),
    },
    columns=(
        count("refunds", "How often money was given back that day", *GIVES_BACK),
        total("refunded_amount", "How much, in the order's currency", *GIVES_BACK, value=GIVEN_BACK),
    ),
)  # fmt: skip
