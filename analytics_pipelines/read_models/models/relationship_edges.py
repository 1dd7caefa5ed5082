"""Who stands in what relation to whom."""

from analytics_pipelines.read_models.columns import Derived, count, earliest, last, latest, values
from analytics_pipelines.read_models.declaration import ReadModel

_BEGINS = ("introduction_made", "manager_assigned", "message_exchanged")
_TELLS = (*_BEGINS, "manager_removed")
_REPORTS = ("data ->> 'lead_id'", "data ->> 'manager_id'", "'reports_to'")

MODEL = ReadModel(
    name="relationship_edges",
    grain=(
        "One row per tenant, two leads and kind of relation, directed: who introduced whom, who reports to whom, who "
        "wrote to whom. A lead may stand on both sides."
    ),
    key={
        "source_id": "The lead who introduced, who reports, who wrote",
        "target_id": "The lead who was introduced, who is reported to, who was written to",
        "kind": "introduced, reports_to or wrote_to",
    },
    keys={
        "introduction_made": ("data ->> 'introducer_id'", "data ->> 'introduced_id'", "'introduced'"),
        "manager_assigned": _REPORTS,
        "manager_removed": _REPORTS,
        "message_exchanged": ("data ->> 'sender_id'", "data ->> 'recipient_id'", "'wrote_to'"),
    },
    columns=(
        count("interactions", "How often: introductions, times it was made manager, messages", *_BEGINS),
        earliest("first_at", "The first of these (UTC)", *_BEGINS),
        latest("last_at", "The newest of these (UTC)", *_BEGINS),
        last("is_current", "boolean", "Whether it holds: only a manager can be removed", *_TELLS,
             value="event_type <> 'manager_removed'"),
        latest("last_removed_at", "When the manager was removed last (UTC)", "manager_removed"),
        Derived("days", "numeric", "Days of 24 hours from the first of these to the newest",
                "extract(epoch from last_at - first_at) / 86400"),
        values("channels", "How they write to each other", "message_exchanged", value="data ->> 'channel'"),
        latest("last_event_at", "Newest event of the row (UTC)", *_TELLS),
    ),
)  # fmt: skip
