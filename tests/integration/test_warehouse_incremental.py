"""Marts that are brought up to date by what new events touched: on a real Postgres, by real dbt runs."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from analytics_pipelines import connections
from analytics_pipelines.warehouse import dbt
from analytics_pipelines.warehouse.assets import MODELS
from tests.integration.test_warehouse_build import EVENTS, TEMPLATE, database, event, fill, line, order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analytics_pipelines.event_log import NewEvent
    from analytics_pipelines.settings import Settings

MARTS = [".".join(model.key) for model in MODELS if model.materialization == "incremental"]

LATE = [
    # The order that moves to another day, and another customer: it was placed, says a late event, before and by Bob.
    event(20, "order_cancelled", "order-till", 9, order_id="till", reason="broken"),
    event(21, "order_refunded", "order-returned", 2, order_id="returned", amount=Decimal("1.50")),
    event(22, "deal_lost", "deal-d", 8, deal_id="d", lead_id="l", reason="price"),
    order(23, "new", 8, line("cup", "3.00")),
    event(24, "product_added", "product-pot", 3, product_id="pot", name="Pot", department="Kitchen"),
    event(25, "experiment_exposed", "lead-m", 1, experiment_id="x", subject_id="m", variant="blue"),
]


def rows(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Return what a query finds."""
    with psycopg.connect(connections.admin_url(settings)) as connection:
        return connection.execute(query.encode()).fetchall()


def marts(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every mart, as text."""
    return {mart: rows(settings, f"select t.*::text from {mart} as t order by 1") for mart in MARTS}


def build(settings: Settings, **options: Any) -> None:
    """Build all marts without their tests."""
    up_to = rows(settings, "select max(up_to_position) from progress.pins")[0][0]
    for result in dbt.build(settings, [model.name for model in MODELS], up_to_position=up_to, **options):
        assert result.status == "success", result.message


@pytest.fixture(scope="module")
def advanced(servers: Settings) -> Iterator[Settings]:
    """A warehouse that was built, and brought up to date after late events."""
    with database(servers, "test_incremental", TEMPLATE) as settings:
        fill(settings, EVENTS)
        build(settings)
        fill(settings, LATE, "late")
        build(settings)
        yield settings


def test_incremental_is_a_full_refresh(servers: Settings, advanced: Settings) -> None:
    """Marts that were brought up to date are, row for row and byte for byte, those that are made anew."""
    assert not any(is_whole for (is_whole,) in rows(advanced, "select is_whole from progress.builds where asset_key like 'marts/%'"))
    with database(servers, "test_incremental_whole", TEMPLATE) as settings:
        fill(settings, [*LATE[::-1], *EVENTS])
        build(settings)
        whole, incremental = marts(settings), marts(advanced)
        for mart in MARTS:
            assert incremental[mart] == whole[mart], mart
