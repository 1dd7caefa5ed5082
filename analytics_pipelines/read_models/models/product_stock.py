"""What of a product there is, and what it costs."""

from analytics_pipelines.read_models.columns import (
    Derived,
    count,
    earliest,
    last,
    latest,
    maximum,
    minimum,
    ratio,
    total,
)
from analytics_pipelines.read_models.declaration import ReadModel

_QUANTITY = "(data ->> 'quantity')::numeric"
_PRICE = "(data ->> 'price')::numeric"
_LEVEL = "units_received + units_adjusted - units_reserved + units_released + units_returned"
_KNOWS_COST = "data ->> 'cost_price' is not null"
_COST = ("cost_price_changed", "stock_received")

MODEL = ReadModel(
    name="product_stock",
    grain=(
        "One row per tenant and product, over all stores: its stock, its price, what was sold. Stock counts from the "
        "first event on: where a producer tells of no stock, the level says nothing. Currencies are not converted."
    ),
    key={"product_id": "The product"},
    each={"order_placed": "lines"},
    by_day=True,
    columns=(
        last("name", "text", "Name of the product", "product_added"),
        last("department", "text", "Department of the range", "product_added"),
        last("category", "text", "Category within the department", "product_added"),
        last("brand", "text", "Brand", "product_added"),
        last("manufacturer_id", "text", "Who makes it", "product_added"),
        last("package_size", "text", "Size of the package, in the producer's words", "product_added"),
        earliest("added_at", "When it entered the range (UTC)", "product_added"),
        latest("discontinued_at", "When it left the range (UTC)", "product_discontinued"),
        last("price", "numeric", "What one unit is sold for", "price_changed"),
        last("price_currency", "text", "ISO 4217 code of the price", "price_changed", value="data ->> 'currency'"),
        minimum("lowest_price", "numeric", "The lowest price it was ever given", "price_changed", value=_PRICE),
        maximum("highest_price", "numeric", "The highest price it was ever given", "price_changed", value=_PRICE),
        last("cost_price", "numeric", "What one unit costs the seller", *_COST, where=_KNOWS_COST),
        last("cost_currency", "text", "ISO 4217 code of the cost price", *_COST, value="data ->> 'currency'",
             where=_KNOWS_COST),
        total("units_received", "Units that came in", "stock_received", value=_QUANTITY),
        total("units_adjusted", "Units put right after counts, up or down", "stock_adjusted",
              value="(data ->> 'quantity_change')::numeric"),
        total("units_reserved", "Units set aside for orders", "stock_reserved", value=_QUANTITY),
        total("units_released", "Units given back, as when an order was cancelled", "stock_released", value=_QUANTITY),
        total("units_returned", "Units that came back from customers", "order_line_returned", value=_QUANTITY),
        Derived("level", "numeric", "Units at hand: received + adjusted - reserved + released + returned", _LEVEL),
        last("reorder_point", "numeric", "Below this level it counts as low; points of single stores are left out",
             "reorder_point_set", value="data ->> 'quantity'", where="data ->> 'store_id' is null"),
        Derived("is_low", "boolean", "Whether the level is below the reorder point; null where none is set",
                f"{_LEVEL} < reorder_point"),
        count("order_lines", "Lines of orders placed that hold it, cancelled ones too", "order_placed"),
        total("units_sold", "Units on these lines", "order_placed", value="(item ->> 'quantity')::numeric"),
        total("revenue", "What the seller receives for these lines", "order_placed",
              value="(item ->> 'revenue')::numeric"),
        ratio("revenue_per_unit", "Revenue per unit on these lines", "revenue", "units_sold"),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            "product_added", "product_discontinued", "price_changed", *_COST, "stock_adjusted", "stock_reserved",
            "stock_released", "order_line_added", "order_line_returned", "reorder_point_set", "order_placed",
        ),
    ),
)  # fmt: skip
