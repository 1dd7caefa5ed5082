"""Which stages of the funnel a deal entered."""

from analytics_pipelines.read_models.columns import count, earliest, last, latest
from analytics_pipelines.read_models.declaration import ReadModel

_DEAL = "data ->> 'deal_id'"
_ENTERS = ("deal_opened", "deal_stage_changed", "deal_won", "deal_lost")

MODEL = ReadModel(
    name="deal_stages",
    grain=(
        "One row per tenant, deal and stage that it entered. Every deal is opened first, whatever its stage is called "
        "then, and ends won or lost. A stage entered again counts from its first entry."
    ),
    key={"deal_id": "The deal", "stage": "opened, won, lost, or the stage in the producer's words"},
    keys={
        "deal_opened": (_DEAL, "'opened'"),
        "deal_won": (_DEAL, "'won'"),
        "deal_lost": (_DEAL, "'lost'"),
    },
    columns=(
        earliest("entered_at", "When it first entered the stage (UTC)", *_ENTERS),
        latest("last_entered_at", "When it last did (UTC)", *_ENTERS),
        count("entries", "How often it did", *_ENTERS),
        last(
            "probability", "numeric", "How likely the deal is won, as was last said on entering", "deal_stage_changed"
        ),
        latest("last_event_at", "Newest event of the row (UTC)", *_ENTERS),
    ),
)
