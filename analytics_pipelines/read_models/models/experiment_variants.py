"""Between which variants an experiment chooses."""

from analytics_pipelines.read_models.columns import earliest, last, latest
from analytics_pipelines.read_models.declaration import ReadModel

_STARTED = ("experiment_started",)

MODEL = ReadModel(
    name="experiment_variants",
    grain="One row per tenant, experiment and variant, as its start was last told.",
    key={"experiment_id": "The experiment", "variant": "The variant"},
    # In version 1 a variant is a name, and all weigh the same.
    keys={"experiment_started": ("data ->> 'experiment_id'", "coalesce(item ->> 'variant', item #>> '{}')")},
    each={"experiment_started": "variants"},
    by_day=True,
    columns=(
        last("name", "text", "What the experiment is called", *_STARTED),
        last("is_control", "boolean", "Whether it is the first variant, with which the others are compared", *_STARTED,
             value="data -> 'variants' -> 0 = item"),
        last("weight", "integer", "Its part of the subjects, beside the weights of the other variants", *_STARTED,
             value="coalesce((item ->> 'weight')::integer, 1)"),
        earliest("started_at", "When the experiment began (UTC)", *_STARTED),
        latest("last_event_at", "Newest event of the row (UTC)", *_STARTED),
    ),
)  # fmt: skip
