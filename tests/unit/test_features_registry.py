"""The registry of features, and the keys they have in Redis."""

from __future__ import annotations

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.features.registry import GROUPS, feature_group
from analytics_pipelines.features.store import entity_key, position_key


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    """A mistyped group is answered by one line that names the groups there are."""
    with pytest.raises(PipelinesError, match="'lead_engagment'; use one of lead_engagement, customer_value"):
        feature_group("lead_engagment")


def test_every_feature_says_what_it_is_and_in_which_unit() -> None:
    """A feature without a description or a unit cannot be declared unnoticed."""
    assert all(feature.description and feature.unit for group in GROUPS.values() for feature in group.features)


def test_no_id_can_pose_as_another_tenants() -> None:
    """Tenant and entity stay apart in the key, whatever characters they are made of."""
    assert entity_key("a:b", "c", "g") != entity_key("a", "b:c", "g")
    assert entity_key("a", "b}:g", "g") != entity_key("a}:b", "g", "g")
    assert position_key("a:g", "g") != entity_key("a", "g", "g")


def test_one_entity_is_one_hash_tag() -> None:
    """What stands between the first braces of a key is the tenant and the entity: a cluster keeps them on one node."""
    key = entity_key("saas", "lead{1}", "lead_engagement")
    assert key.count("{") == key.count("}") == 1
    assert key == "features:{saas:lead%7B1%7D}:lead_engagement"
