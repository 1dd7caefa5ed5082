"""Events of a CRM: companies, leads and their relations, campaigns, e-mails, meetings, deals.

Defines the payload (`data`) of each event type. Add a type here when its aggregate is a company, a lead, a campaign, a
meeting or a deal. Times inside payloads are UTC; money is a decimal amount in `currency`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import (
    Amount,
    Credits,
    Currency,
    Day,
    Derived,
    Identifier,
    Milliseconds,
    Payload,
    PersonalText,
    Share,
    WholeNumber,
    domain,
)


class CompanyCreated(Payload):
    """A company became known. Stream: `company-<company_id>`."""

    company_id: Identifier
    company: str
    industry: str | None = None
    company_size: WholeNumber | None = None
    domain: str | None = None
    region: str | None = None


class CompanyUpdated(Payload):
    """What is known of a company changed; fields left out stay as they are. Stream: `company-<company_id>`."""

    company_id: Identifier
    company: str | None = None
    industry: str | None = None
    company_size: WholeNumber | None = None
    domain: str | None = None
    region: str | None = None


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
    phone: PersonalText | None = None
    job_title: str | None = None


class LeadContactDetailsChanged(Payload):
    """How to reach a lead changed; fields left out stay as they are. Stream: `lead-<lead_id>`."""

    subject_field: ClassVar[str | None] = "lead_id"
    derived: ClassVar[Derived] = {"email_domain": ("email", domain)}

    lead_id: Identifier
    name: PersonalText | None = None
    email: PersonalText | None = None
    phone: PersonalText | None = None
    email_domain: str | None = None
    job_title: str | None = None


class LeadQualified(Payload):
    """A lead was found worth pursuing. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    qualification: str


class LeadDisqualified(Payload):
    """A lead was found not worth pursuing. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    reason: str


class LeadScored(Payload):
    """A score was given to a lead, by a person or by a model. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    score: Share
    scored_by: Identifier


class LeadAssigned(Payload):
    """A lead was given to a sales representative. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    sales_representative_id: Identifier


class LeadMovedCompany(Payload):
    """A lead now works for another company. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    company_id: Identifier


class ManagerAssigned(Payload):
    """A lead now reports to another lead. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    manager_id: Identifier


class ManagerRemoved(Payload):
    """A lead reports to that lead no more. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    manager_id: Identifier


class IntroductionMade(Payload):
    """One lead introduced another. Stream: `lead-<introducer_id>`."""

    introducer_id: Identifier
    introduced_id: Identifier


class MessageExchanged(Payload):
    """One lead wrote to another; what it says is not told. Stream: `lead-<sender_id>`."""

    message_id: Identifier
    sender_id: Identifier
    recipient_id: Identifier
    channel: str


class CampaignLaunchRequested(Payload):
    """Somebody asked for a campaign to be launched, which a saga answers. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    name: str
    channel: str
    workspace_id: Identifier
    budget_credits: Annotated[Credits, Field(gt=0)]
    audience_industry: str | None = None


class CampaignAudienceSelected(Payload):
    """The leads a campaign will address were counted. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    leads: WholeNumber


class CampaignLaunched(Payload):
    """A campaign began. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    name: str
    channel: str
    starts_on: Day
    ends_on: Day | None = None


class CampaignPaused(Payload):
    """A campaign was stopped for a while. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    reason: str | None = None


class CampaignResumed(Payload):
    """A campaign that was paused goes on. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier


class CampaignCompleted(Payload):
    """A campaign ended as planned. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier


class CampaignSent(Payload):
    """A campaign was sent to a customer, outside e-mail. Stream: `campaign-<campaign_id>`."""

    campaign_id: Identifier
    customer_id: Identifier


class EmailSent(Payload):
    """An e-mail of a campaign was sent to a lead. Stream: `lead-<lead_id>`."""

    message_id: Identifier
    campaign_id: Identifier
    lead_id: Identifier


class EmailOpened(EmailSent):
    """The lead opened the message. Stream: `lead-<lead_id>`."""


class EmailClicked(EmailSent):
    """The lead clicked a link in the message. Stream: `lead-<lead_id>`."""


class EmailReplied(EmailSent):
    """The lead replied to the message. Stream: `lead-<lead_id>`."""


class EmailBounced(EmailSent):
    """The message could not be delivered: never ("hard") or not at that moment ("soft"). Stream: `lead-<lead_id>`."""

    bounce: Annotated[str, Field(pattern="^(hard|soft)$")]


class EmailMarkedAsSpam(EmailSent):
    """The lead complained about the message. Stream: `lead-<lead_id>`."""


class EmailUnsubscribed(Payload):
    """The lead wants no more e-mails. Stream: `lead-<lead_id>`."""

    lead_id: Identifier
    campaign_id: Identifier | None = None
    message_id: Identifier | None = None


class MeetingScheduled(Payload):
    """A meeting with leads was agreed. Stream: `meeting-<meeting_id>`."""

    meeting_id: Identifier
    lead_ids: Annotated[list[Identifier], Field(min_length=1)]
    sales_representative_id: Identifier | None = None


class MeetingHeld(MeetingScheduled):
    """A meeting took place, with these leads. Stream: `meeting-<meeting_id>`."""

    duration_ms: Milliseconds | None = None


class MeetingCancelled(Payload):
    """A meeting will not take place. Stream: `meeting-<meeting_id>`."""

    meeting_id: Identifier
    reason: str | None = None


class DealOpened(Payload):
    """A deal with a lead was opened. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    sales_representative_id: Identifier
    amount: Amount
    currency: str


class DealStageChanged(Payload):
    """A deal moved to another stage of the funnel. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    stage: str
    previous_stage: str | None = None
    probability: Share | None = None


class DealAmountChanged(Payload):
    """What a deal is expected to bring changed. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    amount: Amount
    currency: Currency


class DealWon(Payload):
    """A deal was won, for this final amount. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    amount: Amount
    currency: str
    sales_representative_id: Identifier | None = None


class DealLost(Payload):
    """A deal was lost. Stream: `deal-<deal_id>`."""

    deal_id: Identifier
    lead_id: Identifier
    reason: str
    sales_representative_id: Identifier | None = None


PAYLOADS: tuple[type[Payload], ...] = (
    CompanyCreated,
    CompanyUpdated,
    LeadCreated,
    LeadContactDetailsChanged,
    LeadQualified,
    LeadDisqualified,
    LeadScored,
    LeadAssigned,
    LeadMovedCompany,
    ManagerAssigned,
    ManagerRemoved,
    IntroductionMade,
    MessageExchanged,
    CampaignLaunchRequested,
    CampaignAudienceSelected,
    CampaignLaunched,
    CampaignPaused,
    CampaignResumed,
    CampaignCompleted,
    CampaignSent,
    EmailSent,
    EmailOpened,
    EmailClicked,
    EmailReplied,
    EmailBounced,
    EmailMarkedAsSpam,
    EmailUnsubscribed,
    MeetingScheduled,
    MeetingHeld,
    MeetingCancelled,
    DealOpened,
    DealStageChanged,
    DealAmountChanged,
    DealWon,
    DealLost,
)
