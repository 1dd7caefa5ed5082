"""Feature assets: the offline tables, and their publication to Redis.

Defines two assets for each group of `registry.py`. Add a pair here with a new group; how values are computed and
published belongs into the registry and the store.
"""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, asset

from analytics_pipelines.features.registry import CUSTOMER_VALUE, LEAD_ENGAGEMENT, FeatureGroup
from analytics_pipelines.resources import Platform


@asset(
    key=["features", "lead_engagement"],
    deps=[["read_models", "lead_analytics"]],
    group_name="features",
    kinds={"postgres"},
    owners=[LEAD_ENGAGEMENT.owner],
    code_version=LEAD_ENGAGEMENT.version,
)
def lead_engagement(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant and lead: how much the lead reacts to e-mails, as of the tenant's watermark.

    `engagement_score`: 0 to 100 points, the weighted shares of e-mails opened (20), clicked (30) and replied to (50),
    halved every 30 days without contact; null when nothing was sent. `days_since_last_contact`: full days to as_of.
    The score orders leads; it is no probability of anything.
    """
    return _build(context, platform, LEAD_ENGAGEMENT)


@asset(
    key=["features", "customer_value"],
    deps=[["marts", "fct_orders"]],
    group_name="features",
    kinds={"postgres"},
    owners=[CUSTOMER_VALUE.owner],
    code_version=CUSTOMER_VALUE.version,
)
def customer_value(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant and customer with an order that was not cancelled, as of the tenant's watermark.

    `recency_days`: full days since the last order; `frequency`: orders; `monetary_value`: their revenue in their
    currency, refunds not taken off, null if they are in several. It is what the customer has paid, not what the
    customer will be worth.
    """
    return _build(context, platform, CUSTOMER_VALUE)


@asset(
    key=["online", "lead_engagement"],
    deps=[["features", "lead_engagement"]],
    group_name="online",
    kinds={"redis"},
    owners=[LEAD_ENGAGEMENT.owner],
    code_version=LEAD_ENGAGEMENT.version,
)
def online_lead_engagement(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One Redis hash per tenant and lead: the row of `features.lead_engagement`, read in under a millisecond."""
    return _publish(context, platform, LEAD_ENGAGEMENT)


@asset(
    key=["online", "customer_value"],
    deps=[["features", "customer_value"]],
    group_name="online",
    kinds={"redis"},
    owners=[CUSTOMER_VALUE.owner],
    code_version=CUSTOMER_VALUE.version,
)
def online_customer_value(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One Redis hash per tenant and customer: the row of `features.customer_value`, read in under a millisecond."""
    return _publish(context, platform, CUSTOMER_VALUE)


def _build(context: AssetExecutionContext, platform: Platform, group: FeatureGroup) -> MaterializeResult[Any]:
    from analytics_pipelines.features import offline

    with platform.build(context) as build:
        offline.refresh(build.connection, group)
        return build.result()


def _publish(context: AssetExecutionContext, platform: Platform, group: FeatureGroup) -> MaterializeResult[Any]:
    from analytics_pipelines.features import FeatureStore

    with platform.build(context) as build:
        rows = FeatureStore(platform.pool, platform.redis).publish(group.name)
        return build.result(rows=rows)


ASSETS = [lead_engagement, customer_value, online_lead_engagement, online_customer_value]
