"""How a lead is doing."""

from analytics_pipelines.read_models.columns import count, earliest, last, latest, ratio
from analytics_pipelines.read_models.declaration import ReadModel

EMAILS = ("email_sent", "email_opened", "email_clicked", "email_replied")
COMPLAINTS = ("email_bounced", "email_marked_as_spam", "email_unsubscribed")
_DEALS = ("deal_opened", "deal_stage_changed", "deal_amount_changed", "deal_won", "deal_lost")

MODEL = ReadModel(
    name="lead_analytics",
    grain=(
        "One row per tenant and lead, also one known by a deal only: who it is and how it responded. Opens and clicks "
        "count events, not messages."
    ),
    key={"lead_id": "The lead"},
    keys={"introduction_made": ("data ->> 'introducer_id'",)},
    columns=(
        last("company_id", "text", "The lead's company", "lead_created", "lead_moved_company"),
        last("industry", "text", "Industry of the company at which the lead became known", "lead_created"),
        last("company_size", "integer", "Employees of that company", "lead_created"),
        last("lead_source", "text", "Where the lead came from", "lead_created"),
        last("email_domain", "text", "Domain of the e-mail address with which the lead became known", "lead_created"),
        earliest("created_at", "When the lead was created (UTC)", "lead_created"),
        last("qualification", "text", "How far it has got, in the producer's words", "lead_qualified"),
        earliest("qualified_at", "When it was first found worth pursuing (UTC)", "lead_qualified"),
        latest("disqualified_at", "When it was last found not worth pursuing (UTC)", "lead_disqualified"),
        last("score", "numeric", "How promising it is, 0 to 1, by the newest score", "lead_scored"),
        last("scored_by", "text", "The person or model that gave that score", "lead_scored"),
        last("sales_representative_id", "text", "Who looks after it", "lead_assigned"),
        count("emails_sent", "E-mails sent", "email_sent"),
        count("emails_opened", "Openings; one message can be opened often", "email_opened"),
        count("emails_clicked", "Clicks", "email_clicked"),
        count("emails_replied", "Replies", "email_replied"),
        ratio("replies_per_email", "Replies per e-mail sent", "emails_replied", "emails_sent"),
        count("emails_bounced", "E-mails that could not be delivered", "email_bounced"),
        count("hard_bounces", "Of these, to addresses that do not exist", "email_bounced",
              where="data ->> 'bounce' = 'hard'"),
        count("spam_complaints", "E-mails it marked as spam", "email_marked_as_spam"),
        earliest("unsubscribed_at", "When it first wanted no more e-mails (UTC)", "email_unsubscribed"),
        count("introductions_made", "Leads that this lead introduced", "introduction_made"),
        latest("last_contact_at", "Newest e-mail sent, opened, clicked or replied (UTC)", *EMAILS),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            "lead_created", "lead_moved_company", "lead_qualified", "lead_disqualified", "lead_scored",
            "lead_assigned", "introduction_made", *EMAILS, *COMPLAINTS, *_DEALS,
        ),
    ),
)  # fmt: skip
