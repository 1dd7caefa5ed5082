"""A small shop, made up with a seed: its events, and what pandas makes of the same facts.

Defines `Shop`, which keeps what happened as rows beside the events that tell of it, so that a test can ask both.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd

from analytics_pipelines.event_log import NewEvent

BEGIN = datetime(2025, 11, 20, 9, tzinfo=UTC)
DAYS = 120
ORDERS = 150
PRODUCTS = ["tea", "cup", "pot", "jam", "oil"]
REPRESENTATIVES = ["ann", "bob", "cem"]
STORES = ["s1", "s2", "s3"]
REGIONS = ["north", "south"]


@dataclass
class Shop:
    """What happened, told and remembered.

    Attributes:
        first: the events told at first.
        late: those told after the first build, whenever they happened.
        lines: a row for each line of an order.
        orders: a row for each order.
        costs: a row for each cost price told.
        shares: a row for each share of a representative told.
        deals: a row for each deal won.
    """

    first: list[NewEvent] = field(default_factory=list)
    late: list[NewEvent] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    shares: list[dict[str, Any]] = field(default_factory=list)
    deals: list[dict[str, Any]] = field(default_factory=list)
    store_regions: dict[str, str] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    refunds: dict[str, Decimal] = field(default_factory=dict)

    def tell(self, event_type: str, stream_id: str, minute: int, *, late: bool = False, **data: Any) -> datetime:
        """Add an event so many minutes after the beginning, and return its time."""
        number = str(len(self.first) + len(self.late))
        at = BEGIN + timedelta(minutes=minute)
        told = self.late if late else self.first
        told.append(NewEvent("shop", number, stream_id, event_type, at, data))
        return at

    def set_cost(self, product: str, minute: int, cost: str, currency: str = "EUR", *, late: bool = False) -> None:
        """Tell a cost price."""
        at = self.tell(
            "cost_price_changed", f"product-{product}", minute, late=late,
            product_id=product, cost_price=Decimal(cost), currency=currency,
        )  # fmt: skip
        self.costs.append({"at": at, "product_id": product, "cost_price": Decimal(cost), "currency": currency})

    def set_share(self, representative: str, minute: int, share: str, *, late: bool = False) -> None:
        """Tell a representative's share; the first time also where they sell."""
        stream, rate = f"sales_representative-{representative}", Decimal(share)
        known = any(row["sales_representative_id"] == representative for row in self.shares)
        told: dict[str, Any] = {"sales_representative_id": representative, "commission_rate": rate}
        if known:
            at = self.tell("commission_rate_changed", stream, minute, late=late, **told)
        else:
            region = REGIONS[len(self.shares) % 2]
            at = self.tell("sales_representative_registered", stream, minute, late=late, region=region, **told)
        self.shares.append({"at": at, "sales_representative_id": representative, "commission_rate": rate})

    def open_store(self, store: str, minute: int, region: str, *, late: bool = False) -> None:
        """Tell of a store."""
        self.store_regions[store] = region
        self.tell("store_opened", f"store-{store}", minute, late=late, store_id=store, name=store, region=region)

    def add_product(self, product: str, minute: int, category: str, *, late: bool = False) -> None:
        """Tell of a product, or describe it anew."""
        self.categories[product] = category
        stream = f"product-{product}"
        self.tell("product_added", stream, minute, late=late,
                  product_id=product, name=product, department="food", category=category)  # fmt: skip

    def place(self, chance: random.Random, order_id: str, minute: int, *, late: bool = False) -> None:
        """Place an order, and tell what becomes of it."""
        customer = f"c{chance.randrange(12)}"
        data: dict[str, Any] = {
            "order_id": order_id,
            "customer_id": customer,
            "channel": chance.choice(["store", "online"]),
            "currency": "USD" if customer == "c3" and chance.random() < 0.5 else "EUR",
        }
        if chance.random() < 0.6:
            data["store_id"] = chance.choice(STORES)
        if chance.random() < 0.3:
            data["region"] = chance.choice(REGIONS)
        if chance.random() < 0.5:
            data["sales_representative_id"] = chance.choice(REPRESENTATIVES)
        lines: list[dict[str, Any]] = [
            {"product_id": product, "quantity": Decimal(chance.randrange(1, 4)), "revenue": cents(chance)}
            for product in chance.choices(PRODUCTS, k=chance.randrange(1, 4))
        ]
        stream = f"order-{order_id}"
        at = self.tell("order_placed", stream, minute, late=late, **data, lines=lines)
        self.orders.append({**data, "at": at, "revenue": sum(line["revenue"] for line in lines)})
        self.lines += [{**line, "order_id": order_id, "at": at, "currency": data["currency"]} for line in lines]
        if data["channel"] == "online" and chance.random() < 0.2:
            self.cancel(order_id, minute + 30, late=late)
        elif chance.random() < 0.15:
            self.refunds[order_id] = amount = Decimal(1)
            self.tell("order_refunded", stream, minute + 4000, late=late, order_id=order_id, amount=amount)

    def cancel(self, order_id: str, minute: int, *, late: bool = False) -> None:
        """Cancel an order."""
        self.cancelled.add(order_id)
        self.tell("order_cancelled", f"order-{order_id}", minute, late=late, order_id=order_id, reason="regret")

    def change(self, order_id: str, removed: str, added: str, *, late: bool = False) -> None:
        """Take a product off an order a minute after it was placed, and add a line a minute later."""
        order = next(order for order in self.orders if order["order_id"] == order_id)
        minute, stream = (order["at"] - BEGIN) // timedelta(minutes=1), f"order-{order_id}"
        line = {"product_id": added, "quantity": Decimal(2), "revenue": Decimal(5)}
        self.tell("order_line_removed", stream, minute + 1, late=late, order_id=order_id, product_id=removed)
        self.tell("order_line_added", stream, minute + 2, late=late, order_id=order_id, **line)
        self.lines = [line for line in self.lines if (line["order_id"], line["product_id"]) != (order_id, removed)]
        self.lines.append({**line, "order_id": order_id, "at": order["at"], "currency": order["currency"]})
        order["revenue"] = sum(line["revenue"] for line in self.lines if line["order_id"] == order_id)

    def win(self, deal_id: str, minute: int, representative: str, *, late: bool = False) -> None:
        """Open a deal and win it."""
        told = {"deal_id": deal_id, "lead_id": "l", "amount": Decimal(300), "currency": "EUR",
                "sales_representative_id": representative}  # fmt: skip
        self.tell("deal_opened", f"deal-{deal_id}", minute, late=late, **told)
        at = self.tell("deal_won", f"deal-{deal_id}", minute + 60, late=late, **told)
        self.deals.append({"at": at, "sales_representative_id": representative, "amount": Decimal(300)})


def cents(chance: random.Random) -> Decimal:
    """Return an amount of money."""
    return Decimal(chance.randrange(100, 3000)) / 100


def make_shop() -> Shop:
    """Return the shop, with the same events each time."""
    shop, chance = Shop(), random.Random(5)
    day = 24 * 60
    for number, product in enumerate(PRODUCTS):
        shop.add_product(product, number, "hot" if number < 3 else "cold")
        if product != "oil":
            shop.set_cost(product, 10 * day + number, "1.50")
    shop.set_cost("tea", 40 * day, "2.25")
    shop.set_cost("cup", 50 * day, "9.00", "USD")
    shop.tell("stock_received", "product-tea", 41 * day, product_id="tea", quantity=Decimal(4))
    shop.tell("price_changed", "product-tea", 42 * day, product_id="tea", price=Decimal(5), currency="EUR")
    shop.open_store("s1", 5, "north")
    shop.open_store("s2", 6, "south")
    for number, representative in enumerate(REPRESENTATIVES):
        shop.set_share(representative, 15 * day + number, "0.10")
    shop.set_share("ann", 60 * day, "0.20")
    for customer in range(10):
        shop.tell(
            "customer_registered", f"customer-c{customer}", customer, customer_id=f"c{customer}", age_band="20-29"
        )
    for number in range(ORDERS):
        shop.place(chance, f"o{number}", chance.randrange(DAYS * day))
    for line in shop.lines[:30:5]:
        shop.change(line["order_id"], line["product_id"], "pot")
    for number in range(6):
        shop.win(f"d{number}", chance.randrange(DAYS * day), chance.choice(REPRESENTATIVES))
    # Told after the first build: what it changes lies weeks and months back.
    shop.place(chance, "late", 25 * day, late=True)
    shop.change("o20", next(o["product_id"] for o in shop.lines if o["order_id"] == "o20"), "tea", late=True)
    shop.cancel(next(o["order_id"] for o in shop.orders if o["channel"] == "online"), DAYS * day, late=True)
    shop.set_cost("jam", 30 * day, "0.75", late=True)
    shop.set_share("bob", 70 * day, "0.30", late=True)
    shop.open_store("s3", 7, "south", late=True)
    shop.add_product("oil", 90 * day, "hot", late=True)
    shop.win("late", 80 * day, "cem", late=True)
    shop.tell("customer_updated", "customer-c1", 20 * day, late=True, customer_id="c1", age_band="30-39")
    return shop


def in_force(rows: list[dict[str, Any]], told: list[dict[str, Any]], *by: str) -> pd.DataFrame:
    """Return the rows, each with what was told of it last by its time."""
    left = pd.DataFrame(rows).assign(at=lambda frame: pd.to_datetime(frame["at"], utc=True)).sort_values("at")
    right = pd.DataFrame(told).assign(at=lambda frame: pd.to_datetime(frame["at"], utc=True)).sort_values("at")
    return pd.merge_asof(left, right, on="at", by=list(by), suffixes=("", "_told"))
