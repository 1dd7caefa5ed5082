"""On which days anything happened."""

from analytics_pipelines.event_log.schemas import DOMAINS, type_and_version
from analytics_pipelines.read_models.columns import count
from analytics_pipelines.read_models.declaration import ReadModel

# What the platform itself tells happens when it is told: an erasure would draw a calendar of 2017 out to today.
_ANY = sorted(
    {type_and_version(payload.__name__)[0] for name in ("crm", "shop", "app") for payload in DOMAINS[name].PAYLOADS}
)
_DAY = "to_char(occurred_at at time zone 'UTC', 'YYYY-MM-DD')"

MODEL = ReadModel(
    name="event_days",
    grain=(
        "One row per tenant and UTC day of event time on which anything happened in the CRM, the shop or the app: what "
        "calendars begin and end with."
    ),
    key={"date": "The UTC day, as text"},
    keys=dict.fromkeys(_ANY, (_DAY,)),
    by_day=True,
    columns=(count("events", "Events of these types", *_ANY),),
)
