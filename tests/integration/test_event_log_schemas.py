"""An installation's own event types are let into the log, on a real Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from analytics_pipelines.event_log import EventStore, InvalidEventError, NewEvent, quarantine
from analytics_pipelines.event_log.catalog import load_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg_pool import ConnectionPool

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def _sent(number: int, text: str) -> NewEvent:
    return NewEvent("test", f"invoice-{number}", f"invoice-{number}", "invoice_sent", NOON, text)


def test_own_types_are_appended_and_their_wrong_payloads_quarantined(database: ConnectionPool, tmp_path: Path) -> None:
    """A store with the installation's catalog decides by its files, one by one and in bulk; one without knows none."""
    schema = {"required": ["amount"], "properties": {"amount": {"type": "number"}}}
    (tmp_path / "invoice_sent.v1.json").write_text(json.dumps(schema))
    store = EventStore(database, load_catalog(tmp_path))
    assert store.append("shop", "invoice-1", [_sent(1, '{"amount":1.10}')]) == 1
    with pytest.raises(InvalidEventError, match=r'data\.amount: the value is not of type "number"'):
        store.append("shop", "invoice-2", [_sent(2, '{"amount":"2"}')])
    result = store.append_batch(
        "shop", [_sent(2, '{"amount":"2"}'), _sent(3, '{"amount":3}'), _sent(4, '{"amount":4}')]
    )
    assert (result.accepted, result.quarantined) == (2, 1)
    assert EventStore(database).append_batch("shop", [_sent(5, '{"amount":5}')]).quarantined == 1


def test_a_key_that_comes_twice_is_quarantined_and_not_silently_altered(
    store: EventStore, database: ConnectionPool
) -> None:
    """Of two values under one key the log would keep the last only: neither is kept, and both are in quarantine."""
    text = '{"order_id":"1","amount":1,"amount":2}'
    event = NewEvent("test", "p", "order-1", "order_paid", NOON, text)
    assert store.append_batch("shop", [event]).quarantined == 1
    with pytest.raises(InvalidEventError, match="the key 'amount' comes twice"):
        store.append("shop", "order-1", [event])
    with database.connection() as connection:
        [(quarantine_id,)] = connection.execute("select quarantine_id from event_log.quarantine").fetchall()
        kept = quarantine.entry(connection, "shop", quarantine_id)
    assert json.loads(kept["bytes"])["data"] == text
    assert kept["reason"] == "data: the key 'amount' comes twice in one object; only one could be stored"
