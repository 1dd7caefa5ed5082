"""How far a campaign's e-mails brought each lead."""

from analytics_pipelines.read_models.columns import Derived, count, earliest, first, latest, values
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.lead_analytics import COMPLAINTS, EMAILS

_STEP = (
    "case when replied_at is not null then 'replied' when clicked_at is not null then 'clicked' "
    "when opened_at is not null then 'opened' when sent_at is not null then 'sent' end"
)


def _seconds(name: str, description: str, from_column: str, to_column: str) -> Derived:
    return Derived(name, "numeric", description, f"extract(epoch from {to_column} - {from_column})")


MODEL = ReadModel(
    name="engagement_funnel",
    grain=(
        "One row per tenant, campaign and lead that got an e-mail of it: the first time of each step, and the time "
        "between. Totals are counts of rows: entered = rows with sent_at, reached a step = rows with its time, "
        "dropped off = rows by dropped_off_after. A step between may be missing: mail programs hide openings."
    ),
    key={"campaign_id": "The campaign", "lead_id": "The lead"},
    columns=(
        first("first_message_id", "text", "The message that the lead entered with", "email_sent",
              value="data ->> 'message_id'"),
        earliest("sent_at", "First e-mail sent: entered (UTC)", "email_sent"),
        earliest("opened_at", "First opening (UTC)", "email_opened"),
        earliest("clicked_at", "First click (UTC)", "email_clicked"),
        earliest("replied_at", "First reply (UTC)", "email_replied"),
        Derived("step", "text", "The furthest step reached: sent, opened, clicked, replied", _STEP),
        Derived(
            "dropped_off_after", "text", "The step after which nothing has come so far; null after a reply",
            f"nullif({_STEP}, 'replied')",
        ),
        values("lost_by", "What went wrong: hard, soft (bounces), spam, unsubscribed", *COMPLAINTS,
               value="case event_type when 'email_bounced' then data ->> 'bounce' "
               "when 'email_marked_as_spam' then 'spam' else 'unsubscribed' end"),
        _seconds("seconds_to_open", "Seconds from the first e-mail to the first opening", "sent_at", "opened_at"),
        _seconds("seconds_to_click", "Seconds from the first opening to the first click", "opened_at", "clicked_at"),
        _seconds("seconds_to_reply", "Seconds from the first e-mail to the first reply", "sent_at", "replied_at"),
        count("emails_sent", "E-mails sent to the lead", "email_sent"),
        latest("last_event_at", "Newest event of the row (UTC)", *EMAILS, *COMPLAINTS),
    ),
)  # fmt: skip
