"""How far a campaign reached."""

from analytics_pipelines.read_models.columns import count, distinct_count, earliest, last, latest, ratio
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.models.lead_analytics import EMAILS

MODEL = ReadModel(
    name="campaign_performance",
    grain="One row per tenant and campaign: how far it reached. A message opened twice counts twice.",
    key={"campaign_id": "The campaign"},
    by_day=True,
    columns=(
        last("name", "text", "Name of the campaign", "campaign_launched"),
        last("channel", "text", "How it reaches people: mail, email", "campaign_launched"),
        earliest("launched_at", "When it was launched (UTC)", "campaign_launched"),
        last("starts_on", "date", "First day", "campaign_launched"),
        last("ends_on", "date", "Last day, if planned", "campaign_launched"),
        count("emails_sent", "E-mails sent", "email_sent"),
        count("emails_opened", "Openings; one message can be opened often", "email_opened"),
        count("emails_clicked", "Clicks", "email_clicked"),
        count("emails_replied", "Replies", "email_replied"),
        ratio("replies_per_email", "Replies per e-mail sent", "emails_replied", "emails_sent"),
        count("sends", "Customers it was sent to, outside e-mail", "campaign_sent"),
        count("coupons_redeemed", "Coupons of it that were redeemed", "coupon_redeemed"),
        distinct_count(
            "coupons_in_use", "Different coupons of it that were redeemed", "coupon_redeemed",
            value="data ->> 'coupon_id'",
        ),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            "campaign_launched", "campaign_sent", "coupon_redeemed", *EMAILS,
        ),
    ),
)  # fmt: skip
