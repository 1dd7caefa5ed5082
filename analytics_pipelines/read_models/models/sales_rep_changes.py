"""What was said of a sales representative, and when."""

from analytics_pipelines.read_models.columns import earliest, last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.customer_changes import MOMENT_KEY

_REGION = ("sales_representative_registered", "sales_representative_transferred")
_RATE = ("sales_representative_registered", "commission_rate_changed")
_TELLS = (*_REGION, "commission_rate_changed")

MODEL = ReadModel(
    name="sales_rep_changes",
    grain=(
        "One row per tenant, sales representative and moment at which region or commission was set. What was not set "
        "at that moment is null: it stays as it was."
    ),
    key={"sales_representative_id": "The sales representative", "moment": "When (UTC), as text"},
    keys=dict.fromkeys(_TELLS, ("data ->> 'sales_representative_id'", MOMENT_KEY)),
    columns=(
        earliest("changed_at", "When (UTC)", *_TELLS),
        last("region", "text", "Region of sale", *_REGION),
        last("commission_rate", "numeric", "Share of the revenue they get, 0 to 1", *_RATE),
    ),
)
