"""The read models.

Defines each model and `READ_MODELS`, all of them. Add a model here; everything else - the table, the asset, the checks,
the documentation - follows from its declaration.
"""

from __future__ import annotations

from analytics_pipelines.read_models.declaration import Derived, ReadModel, count, earliest, last, latest, total

_EMAILS = ("email_sent", "email_opened", "email_clicked", "email_replied")
_LINES = "(select sum((line ->> '{}')::numeric) from jsonb_array_elements(data -> 'lines') as line)"

_EMAIL_COUNTS = (
    count("emails_sent", "E-mails sent", "email_sent"),
    count("emails_opened", "Openings; one message can be opened often", "email_opened"),
    count("emails_clicked", "Clicks", "email_clicked"),
    count("emails_replied", "Replies", "email_replied"),
)

LEAD_ANALYTICS = ReadModel(
    name="lead_analytics",
    grain="One row per tenant and lead: who it is and how it responded. Opens and clicks count events, not messages.",
    key="lead_id",
    key_description="The lead",
    keys={"introduction_made": "introducer_id"},
    columns=(
        last("company_id", "text", "The lead's company", "lead_created"),
        last("industry", "text", "Industry of the company", "lead_created"),
        last("company_size", "integer", "Employees of the company", "lead_created"),
        last("lead_source", "text", "Where the lead came from", "lead_created"),
        last("email_domain", "text", "Domain of the lead's e-mail address", "lead_created"),
        earliest("created_at", "When the lead was created (UTC)", "lead_created"),
        *_EMAIL_COUNTS,
        count("introductions_made", "Leads that this lead introduced", "introduction_made"),
        latest("last_contact_at", "Newest e-mail sent, opened, clicked or replied (UTC)", *_EMAILS),
        latest("last_event_at", "Newest event of the row (UTC)", "lead_created", "introduction_made", *_EMAILS),
    ),
)

CAMPAIGN_PERFORMANCE = ReadModel(
    name="campaign_performance",
    grain="One row per tenant and campaign: how far it reached. A message opened twice counts twice.",
    key="campaign_id",
    key_description="The campaign",
    columns=(
        last("name", "text", "Name of the campaign", "campaign_launched"),
        last("channel", "text", "How it reaches people: mail, email", "campaign_launched"),
        earliest("launched_at", "When it was launched (UTC)", "campaign_launched"),
        last("starts_on", "date", "First day", "campaign_launched"),
        last("ends_on", "date", "Last day, if planned", "campaign_launched"),
        *_EMAIL_COUNTS,
        count("sends", "Customers it was sent to, outside e-mail", "campaign_sent"),
        count("coupons_redeemed", "Coupons of it that were redeemed", "coupon_redeemed"),
        latest(
            "last_event_at",
            "Newest event of the row (UTC)",
            "campaign_launched",
            "campaign_sent",
            "coupon_redeemed",
            *_EMAILS,
        ),
    ),
)

ORDER_STATE = ReadModel(
    name="order_state",
    grain="One row per tenant and order: what state it is in. An order of the channel store is complete when placed.",
    key="order_id",
    key_description="The order",
    columns=(
        last("customer_id", "text", "Who ordered", "order_placed"),
        last("channel", "text", "store or online", "order_placed"),
        last("currency", "text", "ISO 4217 code of all amounts of the row", "order_placed"),
        earliest("placed_at", "When it was placed (UTC)", "order_placed"),
        earliest("paid_at", "When it was paid (UTC)", "order_paid"),
        earliest("shipped_at", "When it left (UTC)", "order_shipped"),
        earliest("delivered_at", "When it arrived (UTC)", "order_delivered"),
        earliest("cancelled_at", "When it was cancelled (UTC)", "order_cancelled"),
        earliest("refunded_at", "When money was first given back (UTC)", "order_refunded"),
        last("lines", "integer", "Lines of the order", "order_placed", "jsonb_array_length(data -> 'lines')"),
        last("quantity", "numeric", "Units over all lines", "order_placed", _LINES.format("quantity")),
        last("revenue", "numeric", "What the seller receives", "order_placed", _LINES.format("revenue")),
        total("refunded_amount", "Money given back", "order_refunded", "(data ->> 'amount')::numeric"),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            "order_placed", "order_paid", "order_shipped", "order_delivered", "order_cancelled", "order_refunded",
        ),
        Derived(
            "status", "text", "pending, processing (paid or shipped), completed (delivered or store), cancelled",
            "case when cancelled_at is not null then 'cancelled' "
            "when delivered_at is not null or channel = 'store' then 'completed' "
            "when paid_at is not null or shipped_at is not null then 'processing' else 'pending' end",
        ),
    ),
)  # fmt: skip

CUSTOMER_PROFILE = ReadModel(
    name="customer_profile",
    grain="One row per tenant and customer: what it bought. Cancelled orders count; currencies are not told apart.",
    key="customer_id",
    key_description="The customer",
    columns=(
        earliest("registered_at", "When the customer became known (UTC)", "customer_registered"),
        last("age_band", "text", "Age band, in the producer's words", "customer_registered"),
        last("income_band", "text", "Income band, in the producer's words", "customer_registered"),
        last("home_ownership", "text", "Home ownership, in the producer's words", "customer_registered"),
        last("marital_status", "text", "Marital status, in the producer's words", "customer_registered"),
        last("household_size", "text", "Size of the household, in the producer's words", "customer_registered"),
        last("household_composition", "text", "Who lives there, in the producer's words", "customer_registered"),
        last("children", "text", "Children, in the producer's words", "customer_registered"),
        count("orders", "Orders placed", "order_placed"),
        total("revenue", "Revenue of the orders placed, in their currency", "order_placed", _LINES.format("revenue")),
        earliest("first_order_at", "First order (UTC)", "order_placed"),
        latest("last_order_at", "Newest order (UTC)", "order_placed"),
        count("coupons_redeemed", "Coupons redeemed", "coupon_redeemed"),
        latest(
            "last_event_at", "Newest event of the row (UTC)", "customer_registered", "order_placed", "coupon_redeemed"
        ),
    ),
)

READ_MODELS = (LEAD_ANALYTICS, CAMPAIGN_PERFORMANCE, ORDER_STATE, CUSTOMER_PROFILE)
