"""What was said of a customer, and when."""

from analytics_pipelines.read_models.columns import Outermost, earliest, last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.customer_profile import KNOWN

MOMENT_KEY = """to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_ASSIGNED = "sales_representative_assigned"
_TELLS = (*KNOWN, _ASSIGNED)


def _told(name: str, description: str) -> Outermost:
    return last(name, "text", description, *KNOWN, where=f"data ->> '{name}' is not null")


MODEL = ReadModel(
    name="customer_changes",
    grain=(
        "One row per tenant, customer and moment at which something was told of it. What was not told at that moment "
        "is null: it stays as it was."
    ),
    key={"customer_id": "The customer", "moment": "When (UTC), as text"},
    keys=dict.fromkeys(_TELLS, ("data ->> 'customer_id'", MOMENT_KEY)),
    columns=(
        earliest("changed_at", "When (UTC)", *_TELLS),
        _told("age_band", "Age band, in the producer's words"),
        _told("income_band", "Income band, in the producer's words"),
        _told("home_ownership", "Home ownership, in the producer's words"),
        _told("marital_status", "Marital status, in the producer's words"),
        _told("household_size", "Size of the household, in the producer's words"),
        _told("household_composition", "Who lives there, in the producer's words"),
        _told("children", "Children, in the producer's words"),
        _told("region", "Region of sale"),
        last("sales_representative_id", "text", "Who looks after the customer", _ASSIGNED),
    ),
)
