"""The feature store on real servers: guarantee 9, online features == offline features as of the published position."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from psycopg import errors

from analytics_pipelines import progress
from analytics_pipelines.features import FeatureStore, offline
from analytics_pipelines.features.registry import CUSTOMER_VALUE, GROUPS, LEAD_ENGAGEMENT, FeatureGroup
from analytics_pipelines.features.store import entity_key, position_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool
    from redis import Redis

WATERMARK = datetime(2017, 12, 31, 12, tzinfo=UTC)
POSITION = 100

_SOURCES = """
    create table read_models.lead_analytics (
        tenant_id text, lead_id text, emails_sent integer, emails_opened integer, emails_clicked integer,
        emails_replied integer, last_contact_at timestamptz, primary key (tenant_id, lead_id)
    );
    create table marts.fct_orders (
        tenant_id text, order_id text, customer_id text, ordered_at timestamptz, revenue numeric, status text,
        currency text,
        primary key (tenant_id, order_id)
    );
"""

LEADS = [
    ("saas", "fresh", 4, 4, 2, 1, datetime(2017, 12, 31, 0, tzinfo=UTC)),
    ("saas", "month old", 4, 4, 2, 1, datetime(2017, 12, 1, 12, tzinfo=UTC)),
    ("saas", "ignored them", 3, 0, 0, 0, datetime(2017, 12, 30, 12, tzinfo=UTC)),
    ("saas", "opened twice", 1, 2, 0, 0, datetime(2017, 12, 31, 12, tzinfo=UTC)),
    ("saas", "never mailed", 0, 0, 0, 0, None),
    ("other", "fresh", 1, 1, 1, 1, datetime(2016, 2, 1, tzinfo=UTC)),
]
ORDERS = [
    ("grocer", "1", "7", datetime(2017, 12, 1, 12, tzinfo=UTC), "19.90", "completed", "USD"),
    ("grocer", "2", "7", datetime(2017, 12, 21, 13, tzinfo=UTC), "0.10", "pending", "USD"),
    ("grocer", "3", "7", datetime(2017, 12, 30, 12, tzinfo=UTC), "1000", "cancelled", "USD"),
    ("grocer", "5", "9", datetime(2017, 12, 30, 12, tzinfo=UTC), "5", "completed", "USD"),
    ("grocer", "6", "9", datetime(2017, 12, 30, 12, tzinfo=UTC), "5", "completed", "EUR"),
    ("grocer", "4", "8", datetime(2017, 12, 30, 12, tzinfo=UTC), "5", "cancelled", "USD"),
]


@pytest.fixture
def sources(database: ConnectionPool) -> ConnectionPool:
    """The tables that features are computed from, with the leads and orders above."""
    with database.connection() as connection, connection.cursor() as cursor:
        cursor.execute(_SOURCES)
        _pin(database, POSITION, {"saas": WATERMARK, "other": datetime(2016, 2, 1, tzinfo=UTC), "grocer": WATERMARK})
        cursor.executemany("insert into read_models.lead_analytics values (%s, %s, %s, %s, %s, %s, %s)", LEADS)
        cursor.executemany("insert into marts.fct_orders values (%s, %s, %s, %s, %s, %s, %s)", ORDERS)
    _refresh(database, POSITION, GROUPS.values())
    return database


def _pin(pool: ConnectionPool, position: int, watermarks: dict[str, datetime]) -> None:
    with pool.connection() as connection, connection.cursor() as cursor:
        rows = [(tenant_id, position, watermark) for tenant_id, watermark in watermarks.items()]
        cursor.executemany("insert into progress.watermarks values (%s, %s, %s)", rows)


def _refresh(pool: ConnectionPool, position: int, groups: Collection[FeatureGroup]) -> None:
    with pool.connection() as connection:
        progress.set_position(connection, position)
        for group in groups:
            offline.refresh(connection, group)


def test_engagement_score_follows_its_formula(sources: ConnectionPool, redis_client: Redis) -> None:
    """The documented formula by hand: shares of e-mails sent, at most 1 each, halved in 30 days; null without any."""
    rows = FeatureStore(sources, redis_client).offline("saas", "lead_engagement")
    values = {lead_id: tuple(row.values.values()) for lead_id, row in rows.items()}
    assert values == {
        "fresh": (Decimal("47.5000"), 0),  # 100 * (0.2 * 4/4 + 0.3 * 2/4 + 0.5 * 1/4)
        "month old": (Decimal("23.7500"), 30),
        "ignored them": (Decimal("0.0000"), 1),
        "opened twice": (Decimal("20.0000"), 0),
        "never mailed": (None, None),
    }


def test_the_time_is_the_tenants_watermark(sources: ConnectionPool, redis_client: Redis) -> None:
    """Old data are as fresh as their newest event: as_of is the watermark of the tenant, not the clock."""
    rows = FeatureStore(sources, redis_client).offline("other", "lead_engagement")
    assert rows["fresh"].as_of == datetime(2016, 2, 1, tzinfo=UTC)
    assert rows["fresh"].position == POSITION
    assert rows["fresh"].values == {"engagement_score": Decimal("100.0000"), "days_since_last_contact": 0}


def test_customer_value_leaves_cancelled_orders_out(sources: ConnectionPool, redis_client: Redis) -> None:
    """Cancelled orders count in no value, a customer with no others has no row, and currencies are not added up."""
    rows = FeatureStore(sources, redis_client).offline("grocer", "customer_value")
    assert {customer: row.values for customer, row in rows.items()} == {
        "7": {"recency_days": 9, "frequency": 2, "monetary_value": Decimal("20.00")},
        "9": {"recency_days": 1, "frequency": 2, "monetary_value": None},
    }


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_the_table_has_the_declared_columns(database: ConnectionPool, group: FeatureGroup) -> None:
    """Registry and migration agree: names, order and types of the features."""
    with database.connection() as connection:
        columns = connection.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'features' and table_name = %s order by ordinal_position",
            [group.name],
        ).fetchall()
    assert [name for name, _ in columns[:4]] == ["tenant_id", group.entity, "as_of", "built_to_position"]
    assert columns[4:] == [(feature.name, feature.type) for feature in group.features]


@pytest.mark.parametrize("group", GROUPS)
def test_online_equals_offline(sources: ConnectionPool, redis_client: Redis, group: str) -> None:
    """After a publication every entity reads the same online as offline, nulls and last digits included."""
    store = FeatureStore(sources, redis_client)
    counts = store.publish(group)
    assert store.differences(group) == []
    for tenant_id, count in counts.items():
        expected = store.offline(tenant_id, group)
        assert len(expected) == count
        assert store.online(tenant_id, group, list(expected)) == expected
        assert store.published_position(tenant_id, group) == POSITION


def test_offline_and_online_give_only_what_was_asked_for(sources: ConnectionPool, redis_client: Redis) -> None:
    """Entities are read by id within one tenant; an unknown one is left out."""
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    asked = ["fresh", "nobody"]
    assert list(store.offline("other", "lead_engagement", asked)) == ["fresh"]
    assert list(store.online("other", "lead_engagement", asked)) == ["fresh"]
    assert store.online("nobody", "lead_engagement", asked) == {}


def test_gone_entities_and_tenants_are_removed(sources: ConnectionPool, redis_client: Redis) -> None:
    """An entity that is gone offline is found by `differences`, and gone online after the next publication."""
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    with sources.connection() as connection:
        connection.execute("delete from features.lead_engagement where tenant_id = 'other' or lead_id = 'fresh'")
    found = {(difference.tenant_id, difference.entity_id) for difference in store.differences("lead_engagement")}
    assert found == {("other", "fresh"), ("saas", "fresh")}
    assert store.publish("lead_engagement") == {"saas": 4}
    assert store.differences("lead_engagement") == []
    assert store.published_position("other", "lead_engagement") is None
    assert redis_client.exists(entity_key("saas", "fresh", "lead_engagement")) == 0


@pytest.mark.parametrize("group", GROUPS)
def test_a_changed_value_in_redis_is_found(sources: ConnectionPool, redis_client: Redis, group: str) -> None:
    """Any one field changed, dropped or shortened by a digit makes its entity differ, and publishing mends it."""
    store = FeatureStore(sources, redis_client)
    for name in offline.field_names(GROUPS[group]):
        store.publish(group)
        tenant_id, entity_id = ("saas", "fresh") if group == "lead_engagement" else ("grocer", "7")
        key = entity_key(tenant_id, entity_id, group)
        for command in (
            ["hset", key, name, f"{redis_client.hget(key, name)}0"],
            ["hset", key, name, "1234"],
            ["hdel", key, name],
        ):
            redis_client.execute_command(*command)
            found = [(difference.tenant_id, difference.entity_id) for difference in store.differences(group)]
            assert found == [(tenant_id, entity_id)]
    store.publish(group)
    assert store.differences(group) == []


def test_a_flushed_redis_is_restored(sources: ConnectionPool, redis_client: Redis) -> None:
    """Redis may lose everything: every entity differs then, and one publication brings all of it back."""
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    redis_client.flushdb()
    assert len(store.differences("lead_engagement")) == len(LEADS)
    store.publish("lead_engagement")
    assert store.differences("lead_engagement") == []


def test_an_interrupted_publication_is_told_and_completed(
    sources: ConnectionPool, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle, the old position stays published and the next publication completes it."""
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    later = POSITION + 1
    _pin(sources, later, {"saas": datetime(2018, 1, 30, 12, tzinfo=UTC)})
    _refresh(sources, later, [LEAD_ENGAGEMENT])

    read = offline.read_rows

    def read_until_killed(connection: Connection, group: FeatureGroup) -> Iterator[list[offline.TextRow]]:
        yield next(read(connection, group))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(offline, "CHUNK_ROWS", 1)
        patch.setattr(offline, "read_rows", read_until_killed)
        with pytest.raises(KeyboardInterrupt):
            store.publish("lead_engagement")

    assert store.published_position("saas", "lead_engagement") == POSITION
    leads = store.online(
        "saas", "lead_engagement", [lead_id for tenant_id, lead_id, *_ in LEADS if tenant_id == "saas"]
    )
    assert {row.position for row in leads.values()} == {POSITION, later}
    assert len(store.differences("lead_engagement")) == len(LEADS)

    store.publish("lead_engagement")
    assert store.published_position("saas", "lead_engagement") == later
    assert store.differences("lead_engagement") == []


def test_a_lost_position_is_found(sources: ConnectionPool, redis_client: Redis) -> None:
    """The published position is part of the publication: without it the tenant's entities count as not published."""
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    redis_client.delete(position_key("other", "lead_engagement"))
    assert [difference.tenant_id for difference in store.differences("lead_engagement")] == ["other"]


def test_groups_do_not_touch_each_other(sources: ConnectionPool, redis_client: Redis) -> None:
    """Publishing one group leaves the other's hashes, and foreign keys, as they are."""
    store = FeatureStore(sources, redis_client)
    store.publish("customer_value")
    redis_client.set("features", "foreign")
    store.publish("lead_engagement")
    assert store.differences("customer_value") == []
    assert redis_client.get("features") == "foreign"


def test_ids_of_any_characters_are_published(sources: ConnectionPool, redis_client: Redis) -> None:
    """Ids are text: colons, braces, stars and other alphabets come back as they were, each under its own tenant."""
    hostile = ["a:b", "{x}", "*", "ключ", "50%", " "]
    with sources.connection() as connection, connection.cursor() as cursor:
        cursor.execute("delete from features.lead_engagement")
        cursor.executemany(
            "insert into features.lead_engagement values (%s, %s, now(), 100, 1, 1)", [[name, name] for name in hostile]
        )
    store = FeatureStore(sources, redis_client)
    store.publish("lead_engagement")
    assert store.differences("lead_engagement") == []
    for name in hostile:
        assert list(store.online(name, "lead_engagement", hostile)) == [name]
    with sources.connection() as connection:
        connection.execute("delete from features.lead_engagement")
    stale = {(difference.tenant_id, difference.entity_id) for difference in store.differences("lead_engagement")}
    assert stale == {(name, name) for name in hostile}
    store.publish("lead_engagement")
    assert redis_client.dbsize() == 0


def test_a_score_out_of_range_is_refused(sources: ConnectionPool) -> None:
    """The table itself refuses a score that the formula cannot give, rolling the whole refresh back."""
    with sources.connection() as connection:
        connection.execute("update read_models.lead_analytics set emails_replied = -9 where lead_id = 'fresh'")
    with pytest.raises(errors.CheckViolation):
        _refresh(sources, POSITION, [LEAD_ENGAGEMENT])
    with sources.connection() as connection:
        row = connection.execute("select count(*) from features.lead_engagement").fetchone()
    assert row == (len(LEADS),)


def test_refresh_replaces_what_was_there(sources: ConnectionPool, redis_client: Redis) -> None:
    """A refresh leaves no row of a customer whose last order was cancelled meanwhile."""
    with sources.connection() as connection:
        connection.execute("update marts.fct_orders set status = 'cancelled'")
    _refresh(sources, POSITION, [CUSTOMER_VALUE])
    assert FeatureStore(sources, redis_client).offline("grocer", "customer_value") == {}
