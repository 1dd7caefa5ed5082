"""What a subject of an experiment achieved, metric by metric."""

from analytics_pipelines.read_models.columns import ORDER, Fold, count, earliest, latest, total
from analytics_pipelines.read_models.declaration import ReadModel

_CONVERTED = ("experiment_converted",)

MODEL = ReadModel(
    name="experiment_conversions",
    grain=(
        "One row per tenant, experiment, subject and metric: its conversions, before the exposure and after it. Those "
        "without a metric are of the metric `converted`."
    ),
    key={
        "experiment_id": "The experiment",
        "subject_id": "The workspace, or whoever else the experiment is done with",
        "metric": "What is measured",
    },
    keys={
        "experiment_converted": (
            "data ->> 'experiment_id'",
            "data ->> 'subject_id'",
            "coalesce(data ->> 'metric', 'converted')",
        )
    },
    columns=(
        count("conversions", "How many", *_CONVERTED),
        total(
            "conversion_value",
            "What they are worth, in the metric's unit",
            *_CONVERTED,
            value="(data ->> 'value')::numeric",
        ),
        # Only with each moment can those before the exposure be told from those after it, whichever arrives first.
        Fold(
            "moments",
            "jsonb",
            "Each as [seconds since 1970, value], in event-time order",
            _CONVERTED,
            f"jsonb_agg(jsonb_build_array(extract(epoch from occurred_at), data -> 'value') order by {ORDER})",
        ),
        earliest("first_at", "The first (UTC)", *_CONVERTED),
        latest("last_event_at", "Newest event of the row (UTC)", *_CONVERTED),
    ),
)
