"""Migrations keep what is in the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore, NewEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_pipelines.settings import Settings

NAME = "test_migrations"
OLD_EVENT = """
    insert into event_log.events (tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version,
        occurred_at, data)
    values ('shop', 'test', %s, 'order-1', %s, 'order_paid', 1, '2017-06-01Z', '{"order_id": "1", "amount": 1}')
"""


@pytest.fixture
def empty(servers: Settings) -> Iterator[Settings]:
    """Settings that point at a database without any table."""
    with psycopg.connect(connections.admin_url(servers), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(NAME)))
        urls = {
            field: SecretStr(urlunsplit(urlsplit(getattr(servers, field).get_secret_value())._replace(path=f"/{NAME}")))
            for field in ("database_url", "admin_database_url")
        }
        yield servers.model_copy(update=urls)
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(NAME)))


def _paid(number: int, amount: int = 1) -> NewEvent:
    data = {"order_id": "1", "amount": amount}
    return NewEvent("test", str(number), "order-1", "order_paid", datetime(2017, 6, 1, tzinfo=UTC), data)


def test_a_log_from_before_the_partitions_goes_on_in_them(empty: Settings) -> None:
    """Events of the old table are read, known as duplicates and conflicts, and their stream goes on after them."""
    migrations.migrate(empty, revision="0007")
    with psycopg.connect(connections.admin_url(empty)) as admin:
        admin.execute("set role pipelines_runtime")
        admin.execute("insert into event_log.streams values ('shop', 'order-1', 5)")
        for number in range(5):
            admin.execute(OLD_EVENT, [str(number), number + 1])
        admin.execute("create view staging.stg_events as select * from event_log.events")
    assert migrations.migrate(empty)[0] == "0008"
    with connections.open_pool(empty) as pool:
        store = EventStore(pool)
        result = store.append_batch("shop", [*map(_paid, range(8)), _paid(2, amount=9)])
        assert (result.accepted, result.duplicates, result.quarantined) == (3, 5, 1)
        assert store.append("shop", "order-1", [_paid(8)], expected_version=8) == 9
        assert [event.stream_version for event in store.read()] == list(range(1, 10))
