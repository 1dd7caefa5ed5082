"""How a lead is doing."""

from analytics_pipelines.read_models.columns import count, earliest, last, latest, ratio
from analytics_pipelines.read_models.declaration import ReadModel

EMAILS = ("email_sent", "email_opened", "email_clicked", "email_replied")

MODEL = ReadModel(
    name="lead_analytics",
    grain="One row per tenant and lead: who it is and how it responded. Opens and clicks count events, not messages.",
    key={"lead_id": "The lead"},
    keys={"introduction_made": ("data ->> 'introducer_id'",)},
    columns=(
        last("company_id", "text", "The lead's company", "lead_created"),
        last("industry", "text", "Industry of the company", "lead_created"),
        last("company_size", "integer", "Employees of the company", "lead_created"),
        last("lead_source", "text", "Where the lead came from", "lead_created"),
        last("email_domain", "text", "Domain of the lead's e-mail address", "lead_created"),
        earliest("created_at", "When the lead was created (UTC)", "lead_created"),
        count("emails_sent", "E-mails sent", "email_sent"),
        count("emails_opened", "Openings; one message can be opened often", "email_opened"),
        count("emails_clicked", "Clicks", "email_clicked"),
        count("emails_replied", "Replies", "email_replied"),
        ratio("replies_per_email", "Replies per e-mail sent", "emails_replied", "emails_sent"),
        count("introductions_made", "Leads that this lead introduced", "introduction_made"),
        latest("last_contact_at", "Newest e-mail sent, opened, clicked or replied (UTC)", *EMAILS),
        latest("last_event_at", "Newest event of the row (UTC)", "lead_created", "introduction_made", *EMAILS),
    ),
)
