"""Which stages of the funnel a deal has reached."""

from analytics_pipelines.read_models.columns import count, earliest, latest
from analytics_pipelines.read_models.declaration import ReadModel

MODEL = ReadModel(
    name="deal_stages",
    grain="One row per tenant, deal and stage of the funnel that it has reached: when.",
    key={"deal_id": "The deal", "stage": "The stage, in the producer's words"},
    columns=(
        earliest("first_reached_at", "When it first got there (UTC)", "deal_stage_changed"),
        latest("last_reached_at", "When it last got there (UTC)", "deal_stage_changed"),
        count("times_reached", "How often it got there", "deal_stage_changed"),
    ),
)
