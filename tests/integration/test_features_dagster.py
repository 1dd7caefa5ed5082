"""Features as Dagster builds them, and as the command line shows them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from dagster import AssetKey, AssetSelection, materialize

from analytics_pipelines import progress
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.features.assets import ASSETS, lead_engagement, online_lead_engagement
from analytics_pipelines.features.checks import online_lead_engagement_equals_offline
from analytics_pipelines.features.commands import features
from analytics_pipelines.features.store import entity_key
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool
    from redis import Redis

    from analytics_pipelines.settings import Settings

LEAD = {
    "lead_id": "1",
    "company_id": "1",
    "company": "Acme",
    "industry": "retail",
    "company_size": 9,
    "lead_source": "web",
    "email_domain": "acme.test",
}


@pytest.fixture
def platform(
    database: ConnectionPool, database_settings: Settings, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> Platform:
    """The resource, over a log with one event and a read model with the lead it created."""
    assert database_settings.database_url is not None
    assert database_settings.redis_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    monkeypatch.setenv("PIPELINES_REDIS_URL", database_settings.redis_url.get_secret_value())
    created = NewEvent("crm", "1", "lead-1", "lead_created", datetime(2017, 6, 8, tzinfo=UTC), LEAD)
    EventStore(database).append("saas", "lead-1", [created])
    with database.connection() as connection:
        connection.execute(
            """
            create table read_models.lead_analytics as
            select
                'saas' as tenant_id, '1' as lead_id, 2 as emails_sent, 2 as emails_opened, 0 as emails_clicked,
                0 as emails_replied, timestamptz '2017-06-01Z' as last_contact_at
            """
        )
    return Platform()


def test_offline_and_online_are_built_to_the_same_position(
    database: ConnectionPool, platform: Platform, redis_client: Redis, instance: DagsterInstance
) -> None:
    """One run builds the table, publishes it, reads it back, and accounts for both at the position it pinned."""
    chain = [lead_engagement, online_lead_engagement, online_lead_engagement_equals_offline]
    result = materialize(chain, resources={"platform": platform}, instance=instance)
    [evaluation] = result.get_asset_check_evaluations()
    assert evaluation.passed
    with database.connection() as connection:
        builds = progress.builds(connection)
    online, offline = builds["online/lead_engagement"], builds["features/lead_engagement"]
    assert (online.position, online.rows) == (offline.position, offline.rows) == (1, 1)
    assert redis_client.hgetall(entity_key("saas", "1", "lead_engagement")) == {
        "as_of": "2017-06-08T00:00:00.000000Z",
        "position": "1",
        "engagement_score": "17.0133",  # 100 * 0.2 * 0.5 ^ (7 / 30)
        "days_since_last_contact": "7",
    }


def test_the_check_fails_on_a_value_changed_in_redis(
    platform: Platform, redis_client: Redis, instance: DagsterInstance
) -> None:
    """Somebody else's write to the online store stops what is downstream."""
    materialize([lead_engagement, online_lead_engagement], resources={"platform": platform}, instance=instance)
    redis_client.hset(entity_key("saas", "1", "lead_engagement"), "engagement_score", "99")
    result = materialize(
        [online_lead_engagement_equals_offline, online_lead_engagement],
        selection=AssetSelection.checks(online_lead_engagement_equals_offline),
        resources={"platform": platform},
        instance=instance,
        raise_on_error=False,
    )
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.blocking
    assert evaluation.metadata["examples"].value == ["saas/1"]


def test_every_table_has_its_publication() -> None:
    """Each group is built from the table it says it reads, and published from its own table."""
    upstream = {asset.key: {dep.asset_key for dep in spec.deps} for asset in ASSETS for spec in asset.specs}
    assert upstream == {
        AssetKey(["features", "lead_engagement"]): {AssetKey(["read_models", "lead_analytics"])},
        AssetKey(["features", "customer_value"]): {AssetKey(["marts", "fct_orders"])},
        AssetKey(["online", "lead_engagement"]): {AssetKey(["features", "lead_engagement"])},
        AssetKey(["online", "customer_value"]): {AssetKey(["features", "customer_value"])},
    }


def test_the_command_line_shows_online_features(platform: Platform, instance: DagsterInstance) -> None:
    """`features get` prints what an application would read; an entity that is not published is null."""
    materialize([lead_engagement, online_lead_engagement], resources={"platform": platform}, instance=instance)
    arguments = ["get", "lead_engagement", "1", "2", "--tenant", "saas"]
    assert json.loads(CliRunner().invoke(features, [*arguments, "--json"]).output) == {
        "1": {
            "as_of": "2017-06-08T00:00:00+00:00",
            "position": 1,
            "engagement_score": 17.0133,
            "days_since_last_contact": 7,
        },
        "2": None,
    }
    assert CliRunner().invoke(features, arguments).output.splitlines()[1] == "2: not published"
