"""Events of a shop: regions, stores, sales representatives, customers, products, stock, coupons, orders, payments.

Defines the payload (`data`) of each event type. Add a type here when its aggregate is one of these. Money is a decimal
amount in `currency`; where an event of an order names none, it is the order's.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import (
    Amount,
    Currency,
    Identifier,
    Number,
    Payload,
    PersonalText,
    Share,
    SignedNumber,
)


class StoreOpened(Payload):
    """A store began to sell. Stream: `store-<store_id>`."""

    store_id: Identifier
    name: str
    region: str


class StoreClosed(Payload):
    """A store sells no more. Stream: `store-<store_id>`."""

    store_id: Identifier


class SalesRepresentativeRegistered(Payload):
    """A sales representative began to sell. Stream: `sales_representative-<sales_representative_id>`."""

    subject_field: ClassVar[str | None] = "sales_representative_id"

    sales_representative_id: Identifier
    region: str
    commission_rate: Share
    name: PersonalText | None = None
    email: PersonalText | None = None


class SalesRepresentativeTransferred(Payload):
    """A sales representative sells in another region now. Stream: `sales_representative-<sales_representative_id>`."""

    sales_representative_id: Identifier
    region: str


class CommissionRateChanged(Payload):
    """A sales representative gets another share now. Stream: `sales_representative-<sales_representative_id>`."""

    sales_representative_id: Identifier
    commission_rate: Share


class SalesRepresentativeAssigned(Payload):
    """A sales representative looks after a customer from now on. Stream: `customer-<customer_id>`."""

    customer_id: Identifier
    sales_representative_id: Identifier


class CustomerRegistered(Payload):
    """A customer became known. Bands are the producer's words ("45-54", "50-74K"). Stream: `customer-<customer_id>`."""

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
    phone: PersonalText | None = None
    region: str | None = None


class CustomerUpdated(CustomerRegistered):
    """What is known of a customer changed; fields left out stay as they are. Stream: `customer-<customer_id>`."""


class ProductAdded(Payload):
    """A product entered the range. Stream: `product-<product_id>`."""

    product_id: Identifier
    name: str
    department: str
    category: str | None = None
    brand: str | None = None
    manufacturer_id: str | None = None
    package_size: str | None = None


class PriceChanged(Payload):
    """A product is sold for another price from now on. Stream: `product-<product_id>`."""

    product_id: Identifier
    price: Amount
    currency: Currency
    previous_price: Amount | None = None


class CostPriceChanged(Payload):
    """A product costs the seller another amount from now on. Stream: `product-<product_id>`."""

    product_id: Identifier
    cost_price: Amount
    currency: Currency


class ProductDiscontinued(Payload):
    """A product left the range. Stream: `product-<product_id>`."""

    product_id: Identifier
    reason: str | None = None


class ReorderPointSet(Payload):
    """A product counts as low in stock below this quantity from now on. Stream: `product-<product_id>`."""

    product_id: Identifier
    quantity: Number
    store_id: Identifier | None = None


class StockReceived(Payload):
    """Units of a product came in. Stream: `product-<product_id>`."""

    product_id: Identifier
    quantity: Number
    store_id: Identifier | None = None
    cost_price: Amount | None = None
    currency: Currency | None = None


class StockAdjusted(Payload):
    """The stock of a product was put right, up or down, as after a count. Stream: `product-<product_id>`."""

    product_id: Identifier
    quantity_change: SignedNumber
    reason: str
    store_id: Identifier | None = None


class StockReserved(Payload):
    """Units of a product were set aside for an order. Stream: `product-<product_id>`."""

    product_id: Identifier
    order_id: Identifier
    quantity: Number
    store_id: Identifier | None = None


class StockReleased(StockReserved):
    """Units of a product that were set aside for an order were given back. Stream: `product-<product_id>`."""


class CouponIssued(Payload):
    """A coupon of a campaign was issued, good for these products. Stream: `coupon-<campaign_id>-<coupon_id>`."""

    coupon_id: Identifier
    campaign_id: Identifier
    product_ids: Annotated[list[Identifier], Field(min_length=1)]


class CouponRedeemed(Payload):
    """A customer redeemed a coupon. Stream: `customer-<customer_id>`."""

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
    """A customer placed an order. Stream: `order-<order_id>`.

    An order of the channel "store" is paid and handed over at the till: it is complete when it is placed.
    """

    order_id: Identifier
    customer_id: Identifier
    channel: Annotated[str, Field(pattern="^(store|online)$")]
    currency: str
    store_id: str | None = None
    sales_representative_id: Identifier | None = None
    region: str | None = None
    lines: Annotated[list[OrderLine], Field(min_length=1)]


class OrderLineAdded(OrderLine):
    """A line was added to an order before it was paid. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderLineRemoved(Payload):
    """A product was taken off an order before it was paid. Stream: `order-<order_id>`."""

    order_id: Identifier
    product_id: Identifier


class OrderLineReturned(Payload):
    """Units of a product came back from the customer. Stream: `order-<order_id>`."""

    order_id: Identifier
    product_id: Identifier
    quantity: Number
    refund: Amount


class PaymentRequested(Payload):
    """Somebody asked for an order to be paid, which a saga answers. Stream: `order-<order_id>`."""

    order_id: Identifier
    payment_id: Identifier
    amount: Amount
    currency: Currency


class PaymentAuthorized(PaymentRequested):
    """The payment service promised the amount. Stream: `order-<order_id>`."""


class PaymentCaptured(PaymentRequested):
    """The payment service took the amount. Stream: `order-<order_id>`."""


class PaymentVoided(PaymentRequested):
    """The payment service let go of the amount it had promised. Stream: `order-<order_id>`."""


class PaymentFailed(PaymentRequested):
    """The payment service refused, for this reason. Stream: `order-<order_id>`."""

    reason: str


class StockReservationFailed(Payload):
    """There is too little of a product in stock for an order. Stream: `order-<order_id>`."""

    order_id: Identifier
    product_id: Identifier
    quantity: Number


class OrderConfirmed(Payload):
    """An order is paid for and its products are set aside. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderPaid(Payload):
    """An order was paid. Stream: `order-<order_id>`."""

    order_id: Identifier
    amount: Amount


class OrderProcessingStarted(Payload):
    """Work on an order began. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderShipped(Payload):
    """An order left the warehouse. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderDelivered(Payload):
    """An order reached the customer. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderCompleted(Payload):
    """Nothing is left to be done for an order. Stream: `order-<order_id>`."""

    order_id: Identifier


class OrderCancelled(Payload):
    """An order was cancelled before delivery. Stream: `order-<order_id>`."""

    order_id: Identifier
    reason: str


class OrderRefunded(Payload):
    """Money of an order was given back. Stream: `order-<order_id>`."""

    order_id: Identifier
    amount: Amount


PAYLOADS: tuple[type[Payload], ...] = (
    StoreOpened,
    StoreClosed,
    SalesRepresentativeRegistered,
    SalesRepresentativeTransferred,
    CommissionRateChanged,
    SalesRepresentativeAssigned,
    CustomerRegistered,
    CustomerUpdated,
    ProductAdded,
    PriceChanged,
    CostPriceChanged,
    ProductDiscontinued,
    ReorderPointSet,
    StockReceived,
    StockAdjusted,
    StockReserved,
    StockReleased,
    CouponIssued,
    CouponRedeemed,
    OrderPlaced,
    OrderLineAdded,
    OrderLineRemoved,
    OrderLineReturned,
    PaymentRequested,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentVoided,
    PaymentFailed,
    StockReservationFailed,
    OrderConfirmed,
    OrderPaid,
    OrderProcessingStarted,
    OrderShipped,
    OrderDelivered,
    OrderCompleted,
    OrderCancelled,
    OrderRefunded,
)
