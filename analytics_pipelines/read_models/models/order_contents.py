"""What was ordered, by whom and where."""

from analytics_pipelines.read_models.columns import Outermost, last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.order_line_changes import PLACE


def _placed(name: str, kind: str, description: str, value: str = "") -> Outermost:
    return last(name, kind, description, "order_placed", value=value)


MODEL = ReadModel(
    name="order_contents",
    grain=(
        "One row per tenant and order: what was ordered, as it was placed last. What became of it is in order_state; "
        "lines added and taken off since are in order_line_changes."
    ),
    key={"order_id": "The order"},
    columns=(
        _placed("customer_id", "text", "Who ordered"),
        _placed("store_id", "text", "Where; null for an order without a store"),
        _placed("sales_representative_id", "text", "Through whom, if anybody"),
        _placed("region", "text", "Region of sale"),
        _placed("channel", "text", "store or online"),
        _placed("currency", "text", "ISO 4217 code of all amounts of the row"),
        _placed("lines", "jsonb", "The lines, as the producer sent them", "data -> 'lines'"),
        _placed("moment", "text", "When (UTC), and which event of that moment, as in order_line_changes", PLACE),
    ),
)
