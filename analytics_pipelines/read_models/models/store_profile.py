"""What a store is."""

from analytics_pipelines.read_models.columns import earliest, last, latest
from analytics_pipelines.read_models.declaration import ReadModel

MODEL = ReadModel(
    name="store_profile",
    grain="One row per tenant and store that was opened or closed. Orders may name stores of which nothing was told.",
    key={"store_id": "The store"},
    by_day=True,
    columns=(
        last("name", "text", "Name of the store", "store_opened"),
        last("region", "text", "Region of sale", "store_opened"),
        earliest("opened_at", "When it began to sell (UTC)", "store_opened"),
        latest("last_opened_at", "When it was opened last (UTC)", "store_opened"),
        latest("last_closed_at", "When it was closed last (UTC)", "store_closed"),
    ),
)
