"""What a subject of an experiment saw and did."""

from analytics_pipelines.read_models.columns import Derived, count, earliest, first, latest, total, values
from analytics_pipelines.read_models.declaration import ReadModel

_EVENTS = ("experiment_assigned", "experiment_exposed", "experiment_converted")

MODEL = ReadModel(
    name="experiment_exposures",
    grain=(
        "One row per tenant, experiment and subject: which variant it saw and whether it did what was hoped for. Rows "
        "without exposed_at were assigned or converted only, and belong in no comparison of variants."
    ),
    key={"experiment_id": "The experiment", "subject_id": "The workspace, or whoever else the experiment is done with"},
    columns=(
        first("variant", "text", "The variant it saw first", "experiment_exposed"),
        first("assigned_variant", "text", "The variant it was first given, seen or not", "experiment_assigned",
              value="data ->> 'variant'"),
        values("variants_seen", "All variants it saw; more than one spoils the comparison", "experiment_exposed",
               value="data ->> 'variant'"),
        earliest("assigned_at", "When it was first given a variant (UTC)", "experiment_assigned"),
        earliest("exposed_at", "When it first saw a variant (UTC)", "experiment_exposed"),
        count("exposures", "How often it was told to have seen one for the first time; 1 where all is well",
              "experiment_exposed"),
        earliest("converted_at", "First conversion, before or after the exposure (UTC)", "experiment_converted"),
        latest("last_converted_at", "Newest conversion (UTC)", "experiment_converted"),
        Derived("has_converted", "boolean", "Whether a conversion came at or after the exposure",
                "coalesce(last_converted_at >= exposed_at, false)"),
        count("conversions", "Conversions, before or after the exposure", "experiment_converted"),
        total("conversion_value", "What these are worth, in the producer's unit", "experiment_converted",
              value="(data ->> 'value')::numeric"),
        values("metrics", "What was measured in these", "experiment_converted", value="data ->> 'metric'"),
        latest("last_event_at", "Newest event of the row (UTC)", *_EVENTS),
    ),
)  # fmt: skip
