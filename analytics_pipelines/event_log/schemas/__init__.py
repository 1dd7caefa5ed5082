"""The catalog of event types: which payload each type and version carries.

Defines `SCHEMAS`, by event type and schema version. A type exists when it stands here; its module holds its meaning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from analytics_pipelines.event_log.schemas import app, crm, people, sagas, shop

if TYPE_CHECKING:
    from analytics_pipelines.event_log.schemas.payload import Payload


def _event_type(payload: type[Payload]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", payload.__name__).lower()


_VERSION_1: tuple[type[Payload], ...] = (
    crm.LeadCreated,
    crm.IntroductionMade,
    crm.CampaignLaunchRequested,
    crm.CampaignAudienceSelected,
    crm.CampaignLaunched,
    crm.CampaignSent,
    crm.EmailSent,
    crm.EmailOpened,
    crm.EmailClicked,
    crm.EmailReplied,
    crm.DealOpened,
    crm.DealWon,
    crm.DealLost,
    shop.CustomerRegistered,
    shop.ProductAdded,
    shop.CouponIssued,
    shop.CouponRedeemed,
    shop.OrderPlaced,
    shop.OrderPaid,
    shop.OrderShipped,
    shop.OrderDelivered,
    shop.OrderCancelled,
    shop.OrderRefunded,
    app.WorkspaceCreated,
    app.AgentExecutionCompleted,
    app.AgentExecutionFailed,
    app.CreditsGranted,
    app.CreditsReserved,
    app.CreditsReleased,
    app.ExperimentExposed,
    app.ExperimentConverted,
    sagas.SagaStarted,
    sagas.SagaStepCompleted,
    sagas.SagaStepFailed,
    sagas.SagaStepCompensated,
    sagas.SagaCompleted,
    sagas.SagaCompensated,
    people.SubjectErased,
)

SCHEMAS: dict[tuple[str, int], type[Payload]] = {(_event_type(payload), 1): payload for payload in _VERSION_1}

VALIDATORS = {key: payload.__pydantic_validator__ for key, payload in SCHEMAS.items()}
