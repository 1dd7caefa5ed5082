"""What was added to an order and taken off it after it was placed."""

from analytics_pipelines.read_models.columns import earliest, last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.customer_changes import MOMENT_KEY

# A text that sorts, byte by byte, as events do: by their times, then sequences (down to -2^62), then ids, then sources.
PLACE = (
    f"{MOMENT_KEY} || ' ' || lpad((sequence::numeric + 4611686018427387904)::text, 19, '0') "
    "|| ' ' || event_id || ' ' || source"
)
_ADDED, _REMOVED = "order_line_added", "order_line_removed"

MODEL = ReadModel(
    name="order_line_changes",
    grain=(
        "One row per tenant, order and event that added a line to it or took a product off it, that is, all lines of "
        "the product so far. What the order has in the end is in marts.fct_order_lines."
    ),
    key={"order_id": "The order", "moment": "When (UTC), and which event of that moment, as text that sorts by bytes"},
    keys=dict.fromkeys((_ADDED, _REMOVED), ("data ->> 'order_id'", PLACE)),
    columns=(
        earliest("added_at", "When the line was added (UTC); null where one was taken off", _ADDED),
        earliest("removed_at", "When the product was taken off (UTC); null where a line was added", _REMOVED),
        last("product_id", "text", "The product", _ADDED, _REMOVED),
        last("quantity", "numeric", "Units on the added line", _ADDED),
        last("revenue", "numeric", "What the seller receives for it, in the order's currency", _ADDED),
        last("discount", "numeric", "What the seller takes off it, in the order's currency", _ADDED),
        last("coupon_discount", "numeric", "What a coupon takes off it, in the order's currency", _ADDED),
    ),
)
