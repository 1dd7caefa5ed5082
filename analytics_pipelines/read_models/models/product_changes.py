"""What was said of a product, and when."""

from analytics_pipelines.read_models.columns import earliest, last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.customer_changes import MOMENT_KEY

_ADDED = "product_added"
_COST = ("cost_price_changed", "stock_received")
_KNOWS_COST = "data ->> 'cost_price' is not null"
_TELLS = (_ADDED, "price_changed", *_COST)

MODEL = ReadModel(
    name="product_changes",
    grain=(
        "One row per tenant, product and moment at which its description, its price or its cost price was told. What "
        "was not told at that moment is null: it stays as it was."
    ),
    key={"product_id": "The product", "moment": "When (UTC), as text"},
    keys={
        **dict.fromkeys(_TELLS, ("data ->> 'product_id'", MOMENT_KEY)),
        "stock_received": (f"case when {_KNOWS_COST} then data ->> 'product_id' end", MOMENT_KEY),
    },
    columns=(
        earliest("changed_at", "When (UTC)", *_TELLS),
        earliest("added_at", "The same moment, if it entered the range then (UTC)", _ADDED),
        last("name", "text", "Name of the product", _ADDED),
        last("department", "text", "Department of the range", _ADDED),
        last("category", "text", "Category within the department", _ADDED),
        last("brand", "text", "Brand", _ADDED),
        last("price", "numeric", "What one unit is sold for", "price_changed"),
        last("price_currency", "text", "ISO 4217 code of the price", "price_changed", value="data ->> 'currency'"),
        last("cost_price", "numeric", "What one unit costs the seller", *_COST, where=_KNOWS_COST),
        last("cost_currency", "text", "ISO 4217 code of the cost price", *_COST, value="data ->> 'currency'",
             where=_KNOWS_COST),
    ),
)  # fmt: skip
