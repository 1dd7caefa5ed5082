"""Events of a CRM: leads, introductions, campaigns, e-mails, deals.

Defines the payload (`data`) of each event type, version 1. Add a type here when its aggregate is a lead, a campaign or
a deal. Times inside payloads are UTC; money is a decimal amount in `currency`. What names a
person is marked as personal and is encrypted.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import (
    Amount,
    Day,
    Derived,
    Identifier,
    Number,
    Payload,
    PersonalText,
    WholeNumber,
    domain,
)


class LeadCreated(Payload):
    """A lead entered the CRM. Stream: `lead-<lead_id>`."""

    subject_field: ClassVar[str | None] = "lead_id"
    derived: ClassVar[Derived] = {"email_domain": ("email", domain)}

    lead_id: Identifier
    company_id: Identifier
    company: str
    industry: str
    company_size: Annotated[WholeNumber, Field(ge=1)]
    lead_source: str
    email_domain: str
    name: PersonalText | None = None
    email: PersonalText | None = None


class IntroductionMade(Payload):
    """One lead introduced another. Stream: that of the introducer."""

    introducer_id: Identifier
    introduced_id: Identifier


class CampaignLaunchRequested(Payload):
    """Somebody asked for a campaign to be launched, which a saga answers. Stream: that of the campaign."""

    campaign_id: Identifier
    name: str
    channel: str
    workspace_id: Identifier
    budget_credits: Annotated[Number, Field(gt=0)]
    audience_industry: str | None = None


class CampaignAudienceSelected(Payload):
    """The leads a campaign will address were counted. Stream: that of the campaign."""

    campaign_id: Identifier
    leads: WholeNumber


class CampaignLaunched(Payload):
    """A campaign began. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    name: str
    channel: str
    starts_on: Day
    ends_on: Day | None = None


class CampaignSent(Payload):
    """A campaign was sent to a customer, outside e-mail. Stream: that of the campaign."""

    campaign_id: Identifier
    customer_id: Identifier


class EmailSent(Payload):
    """An e-mail of a campaign was sent to a lead. Stream: that of the lead, as for what follows."""

    message_id: Identifier
    campaign_id: Identifier
    lead_id: Identifier


class EmailOpened(EmailSent):
    """The lead opened the message."""


class EmailClicked(EmailSent):
    """The lead clicked a link in the message."""


class EmailReplied(EmailSent):
    """The lead replied to the message."""


class DealOpened(Payload):
    """A deal with a lead was opened. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    sales_representative_id: Identifier
    amount: Amount
    currency: str


class DealWon(Payload):
    """A deal was won, for this final amount."""

    deal_id: Identifier
    lead_id: Identifier
    amount: Amount
    currency: str


class DealLost(Payload):
    """A deal was lost."""

    deal_id: Identifier
    lead_id: Identifier
    reason: str
