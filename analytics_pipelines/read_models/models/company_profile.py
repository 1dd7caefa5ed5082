"""What is known of a company."""

from analytics_pipelines.read_models.columns import Outermost, count, earliest, last, latest
from analytics_pipelines.read_models.declaration import ReadModel

_TELLS = ("company_created", "company_updated")


def _known(name: str, kind: str, description: str, *events: str) -> Outermost:
    return last(name, kind, description, *events, where=f"data ->> '{name}' is not null")


MODEL = ReadModel(
    name="company_profile",
    grain=(
        "One row per tenant and company, also one known by a lead only. What its own events do not tell is taken from "
        "the leads created at it."
    ),
    key={"company_id": "The company"},
    columns=(
        _known("company", "text", "Its name, by the newest event that has one", *_TELLS, "lead_created"),
        _known("industry", "text", "Its industry, by the newest event that has one", *_TELLS, "lead_created"),
        _known("company_size", "integer", "Its employees, by the newest event that has them", *_TELLS, "lead_created"),
        _known("domain", "text", "Its internet domain", *_TELLS),
        _known("region", "text", "Region of sale", *_TELLS),
        earliest("created_at", "When it became known, at the latest with its first lead (UTC)",
                 "company_created", "lead_created", "lead_moved_company"),
        count("leads_created", "Leads created at it, wherever they work now", "lead_created"),
        latest("last_event_at", "Newest event of the row (UTC)", *_TELLS, "lead_created",
               "lead_moved_company"),
    ),
)  # fmt: skip
