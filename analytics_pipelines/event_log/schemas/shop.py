"""Events of a shop: customers, products, coupons, orders.

Defines the payload (`data`) of each event type, version 1. Add a type here when its aggregate is a customer, a product,
a coupon or an order. Money is a decimal amount in `currency`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import Amount, Identifier, Number, Payload, PersonalText


class CustomerRegistered(Payload):
    """A customer became known. Stream: `customer-<customer_id>`. Bands are the producer's words ("45-54", "50-74K")."""

    subject_field: ClassVar[str | None] = "customer_id"

    customer_id: Identifier
    age_band: str | None = None
    income_band: str | None = None
    home_ownership: str | None = None
    marital_status: str | None = None
    household_size: str | None = None
    household_composition: str | None = None
    children: str | None = None
    name: PersonalText | None = None
    email: PersonalText | None = None


class ProductAdded(Payload):
    """A product entered the range. Stream: `product-<product_id>`."""

    product_id: Identifier
    name: str
    department: str
    category: str | None = None
    brand: str | None = None
    manufacturer_id: str | None = None
    package_size: str | None = None


class CouponIssued(Payload):
    """A coupon of a campaign was issued, good for these products. Stream: `coupon-<campaign_id>-<coupon_id>`."""

    coupon_id: Identifier
    campaign_id: Identifier
    product_ids: Annotated[list[Identifier], Field(min_length=1)]


class CouponRedeemed(Payload):
    """A customer redeemed a coupon. Stream: that of the customer."""

    coupon_id: Identifier
    campaign_id: Identifier
    customer_id: Identifier


class OrderLine(Payload):
    """One line of an order. `revenue` is what the seller receives for the whole line, after `discount`s."""

    product_id: Identifier
    quantity: Number
    revenue: Amount
    discount: Amount = 0
    coupon_discount: Amount = 0


class OrderPlaced(Payload):
    """A customer placed an order. Stream: `order-<order_id>`, as for what follows.

    An order of the channel "store" is paid and handed over at the till: it is complete when it is placed.
    """

    order_id: Identifier
    customer_id: Identifier
    channel: Annotated[str, Field(pattern="^(store|online)$")]
    currency: str
    store_id: str | None = None
    lines: Annotated[list[OrderLine], Field(min_length=1)]


class OrderPaid(Payload):
    """An order was paid."""

    order_id: Identifier
    amount: Amount


class OrderShipped(Payload):
    """An order left the warehouse."""

    order_id: Identifier


class OrderDelivered(Payload):
    """An order reached the customer."""

    order_id: Identifier


class OrderCancelled(Payload):
    """An order was cancelled before delivery."""

    order_id: Identifier
    reason: str


class OrderRefunded(Payload):
    """Money of an order was given back."""

    order_id: Identifier
    amount: Amount
