"""On which days anything happened."""

from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.read_models.columns import count
from analytics_pipelines.read_models.declaration import ReadModel

_ANY = sorted({event_type for event_type, _ in SCHEMAS})
_DAY = "to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD')"

MODEL = ReadModel(
    name="event_days",
    grain="One row per tenant and UTC day of event time on which anything happened: what calendars begin and end with.",
    key={"date": "The UTC day, as text"},
    keys=dict.fromkeys(_ANY, (_DAY,)),
    columns=(count("events", "Events of the types of the catalog", *_ANY),),
)
