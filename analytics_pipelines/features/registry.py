"""The registry: which features exist, of which entity, and how they are computed.

Defines `Feature`, `FeatureGroup` and the groups themselves. Add a feature here, and its column in a new migration;
raise the group's version when a value gets another meaning. Storage is `offline.py` and `store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Feature:
    """One value known of an entity; null where nothing is known.

    Attributes:
        name: the column in `features.<group>` and the field in Redis.
        type: the Postgres type; an `integer` is an `int` in Python, a `numeric` is a `Decimal`.
        description: what the value says, and when it is null.
        unit: what one of it is.
    """

    name: LiteralString
    type: Literal["integer", "numeric"]
    description: str
    unit: str


@dataclass(frozen=True, slots=True)
class FeatureGroup:
    """Features of one kind of entity that are computed together.

    Attributes:
        name: the table in `features` and the last part of the asset keys.
        entity: the column that identifies the entity within its tenant.
        version: the code version of the assets.
        owner: who answers for it.
        description: what it is for, grain first.
        features: its columns, in order.
        query: SQL giving tenant_id, the entity's column, as_of and the features. It reads the time from
            `progress.watermark`, never from the clock.
    """

    name: LiteralString
    entity: LiteralString
    version: str
    owner: str
    description: str
    features: tuple[Feature, ...]
    query: LiteralString


LEAD_ENGAGEMENT = FeatureGroup(
    name="lead_engagement",
    entity="lead_id",
    version="1",
    owner="team:analytics",
    description="One row per tenant and lead: how much the lead reacts to e-mails, as of the tenant's watermark.",
    features=(
        Feature(
            name="engagement_score",
            type="numeric",
            description=(
                "100 * (0.2 * opened + 0.3 * clicked + 0.5 * replied) * 0.5 ^ (days_since_last_contact / 30), each of "
                "them a share of the e-mails sent and at most 1; rounded to 4 digits. Null when no e-mail was sent: "
                "nothing is known, while 0 is a lead that ignored them"
            ),
            unit="points, 0 to 100",
        ),
        Feature(
            name="days_since_last_contact",
            type="integer",
            description="Full days from the last e-mail sent, opened, clicked or replied, to as_of. Null without one",
            unit="days of 24 hours",
        ),
    ),
    # A run may find the read model ahead of the position it is pinned to: such a contact is 0 days old.
    query="""
        with tenants as (
            select tenant_id, progress.watermark(tenant_id) as as_of
            from (select distinct tenant_id from progress.watermarks) as seen
        ),
        leads as (
            select
                lead.tenant_id,
                lead.lead_id,
                tenants.as_of,
                lead.emails_sent,
                0.2 * least(1, lead.emails_opened::numeric / nullif(lead.emails_sent, 0))
                    + 0.3 * least(1, lead.emails_clicked::numeric / nullif(lead.emails_sent, 0))
                    + 0.5 * least(1, lead.emails_replied::numeric / nullif(lead.emails_sent, 0)) as reaction,
                case when lead.last_contact_at is not null then
                    greatest(0, floor(extract(epoch from tenants.as_of - lead.last_contact_at) / 86400))::integer
                end as days_since_last_contact
            from read_models.lead_analytics as lead
            join tenants on tenants.tenant_id = lead.tenant_id and tenants.as_of is not null
        )
        select
            tenant_id,
            lead_id,
            as_of,
            case when emails_sent > 0 then
                round(100 * reaction * power(0.5, days_since_last_contact / 30.0), 4)
            end as engagement_score,
            days_since_last_contact
        from leads
    """,
)

CUSTOMER_VALUE = FeatureGroup(
    name="customer_value",
    entity="customer_id",
    version="1",
    owner="team:analytics",
    description=(
        "One row per tenant and customer with an order that was not cancelled: recency, frequency and value of the "
        "customer's orders, as of the tenant's watermark."
    ),
    features=(
        Feature(
            name="recency_days",
            type="integer",
            description="Full days from the last order to as_of",
            unit="days of 24 hours",
        ),
        Feature(name="frequency", type="integer", description="Orders that were not cancelled", unit="orders"),
        Feature(
            name="monetary_value",
            type="numeric",
            description=(
                "Revenue of those orders, refunds not taken off. Null for orders in several currencies: no rates are "
                "known"
            ),
            unit="money, in the currency of the customer's orders",
        ),
    ),
    query="""
        with tenants as (
            select tenant_id, progress.watermark(tenant_id) as as_of
            from (select distinct tenant_id from progress.watermarks) as seen
        ),
        orders as (
            select
                tenant_id,
                customer_id,
                max(ordered_at) as last_ordered_at,
                count(*)::integer as frequency,
                case when min(currency) = max(currency) then sum(revenue) end as monetary_value
            from marts.fct_orders
            where status <> 'cancelled'
            group by tenant_id, customer_id
        )
        select
            orders.tenant_id,
            orders.customer_id,
            tenants.as_of,
            greatest(0, floor(extract(epoch from tenants.as_of - last_ordered_at) / 86400))::integer as recency_days,
            orders.frequency,
            orders.monetary_value
        from orders
        join tenants on tenants.tenant_id = orders.tenant_id and tenants.as_of is not null
    """,
)

GROUPS = {group.name: group for group in (LEAD_ENGAGEMENT, CUSTOMER_VALUE)}


def feature_group(name: str) -> FeatureGroup:
    """Return a group by its name.

    Raises:
        PipelinesError: there is no such group.
    """
    if name not in GROUPS:
        raise PipelinesError(f"there is no feature group {name!r}; use one of {', '.join(GROUPS)}")
    return GROUPS[name]
