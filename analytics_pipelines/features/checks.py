"""Feature checks: guarantee 9, online features == offline features as of the published position.

Defines one check for each published group. Ranges and nulls are constraints of the tables, in migration 0006.
"""

from dagster import AssetCheckResult, MetadataValue, asset_check

from analytics_pipelines.features.registry import CUSTOMER_VALUE, LEAD_ENGAGEMENT, FeatureGroup
from analytics_pipelines.resources import Platform

SHOWN = 10


@asset_check(asset=["online", "lead_engagement"], blocking=True)
def online_lead_engagement_equals_offline(platform: Platform) -> AssetCheckResult:
    """Every lead's online features, read back, are its offline features, and no other lead is online."""
    return _compare(platform, LEAD_ENGAGEMENT)


@asset_check(asset=["online", "customer_value"], blocking=True)
def online_customer_value_equals_offline(platform: Platform) -> AssetCheckResult:
    """Every customer's online features, read back, are its offline features, and no other customer is online."""
    return _compare(platform, CUSTOMER_VALUE)


def _compare(platform: Platform, group: FeatureGroup) -> AssetCheckResult:
    from analytics_pipelines.features import FeatureStore

    differences = FeatureStore(platform.pool, platform.redis).differences(group.name)
    examples = [f"{difference.tenant_id}/{difference.entity_id}" for difference in differences[:SHOWN]]
    return AssetCheckResult(
        passed=not differences,
        metadata={"differing_entities": len(differences), "examples": MetadataValue.json(examples)},
    )


CHECKS = [online_lead_engagement_equals_offline, online_customer_value_equals_offline]
