"""How far a campaign reached."""

from analytics_pipelines.read_models.columns import count, distinct_count, earliest, last, latest, ratio, total
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.lead_analytics import COMPLAINTS, EMAILS

_COURSE = {
    "campaign_launch_requested": "requested",
    "campaign_launched": "running",
    "campaign_paused": "paused",
    "campaign_resumed": "running",
    "campaign_completed": "completed",
}
_STATUSES = " ".join(f"when '{event}' then '{status}'" for event, status in _COURSE.items())

MODEL = ReadModel(
    name="campaign_performance",
    grain="One row per tenant and campaign: how far it reached. A message opened twice counts twice.",
    key={"campaign_id": "The campaign"},
    by_day=True,
    columns=(
        last("name", "text", "Name of the campaign", "campaign_launched"),
        last("channel", "text", "How it reaches people: mail, email", "campaign_launched"),
        last("status", "text", "requested, running, paused or completed, by the newest event", *_COURSE,
             value=f"case event_type {_STATUSES} end"),
        earliest("requested_at", "When somebody asked for it (UTC)", "campaign_launch_requested"),
        earliest("launched_at", "When it was launched (UTC)", "campaign_launched"),
        latest("completed_at", "When it ended as planned (UTC)", "campaign_completed"),
        last("starts_on", "date", "First day", "campaign_launched"),
        last("ends_on", "date", "Last day, if planned", "campaign_launched"),
        last("audience", "integer", "Leads it will address", "campaign_audience_selected", value="data ->> 'leads'"),
        last("budget_credits", "numeric", "Credits that may be spent", "campaign_launch_requested"),
        total("credits_reserved", "Credits set aside for it", "credits_reserved",
              value="(data ->> 'credits')::numeric"),
        total("credits_released", "Of these, given back", "credits_released", value="(data ->> 'credits')::numeric"),
        count("emails_sent", "E-mails sent", "email_sent"),
        count("emails_opened", "Openings; one message can be opened often", "email_opened"),
        count("emails_clicked", "Clicks", "email_clicked"),
        count("emails_replied", "Replies", "email_replied"),
        ratio("opens_per_email", "Openings per e-mail sent", "emails_opened", "emails_sent"),
        ratio("clicks_per_email", "Clicks per e-mail sent", "emails_clicked", "emails_sent"),
        ratio("replies_per_email", "Replies per e-mail sent", "emails_replied", "emails_sent"),
        count("emails_bounced", "E-mails that could not be delivered", "email_bounced"),
        count("hard_bounces", "Of these, to addresses that do not exist", "email_bounced",
              where="data ->> 'bounce' = 'hard'"),
        ratio("bounces_per_email", "E-mails not delivered per e-mail sent", "emails_bounced", "emails_sent"),
        count("spam_complaints", "E-mails marked as spam", "email_marked_as_spam"),
        count("unsubscriptions", "Answers that no more e-mails are wanted", "email_unsubscribed"),
        count("sends", "Customers it was sent to, outside e-mail", "campaign_sent"),
        count("coupons_redeemed", "Coupons of it that were redeemed", "coupon_redeemed"),
        distinct_count(
            "coupons_in_use", "Different coupons of it that were redeemed", "coupon_redeemed",
            value="data ->> 'coupon_id'",
        ),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            *_COURSE, "campaign_audience_selected", "credits_reserved", "credits_released", "campaign_sent",
            "coupon_redeemed", *EMAILS, *COMPLAINTS,
        ),
    ),
)  # fmt: skip
