"""Predicted lifetime value: the tables `marts.lifetime_value_models` and `marts.customer_lifetime_values`.

Defines how customers' purchases are read from `marts.fct_orders`, what is predicted of them, and how both tables are
written. The formulas stand in `purchase_models.py`. What a customer has brought so far is told by the dbt marts.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from decimal import Decimal
from itertools import groupby
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from psycopg import Connection

    from analytics_pipelines.warehouse.purchase_models import PurchaseModel, ValueModel

VERSION = "1"
"""Of the predictions: raise it when another prediction comes of the same purchases."""

TABLES = {
    "lifetime_value_models": (
        "One row per tenant and currency in which customers bought: the parameters that customer_lifetime_values was "
        "predicted with, or why nothing was.\n\nBG/NBD and gamma-gamma, fitted to all purchases up to the watermark."
    ),
    "customer_lifetime_values": (
        "One row per tenant, customer who bought, and currency: how they bought, how likely they buy again, and the "
        "revenue to expect of them in the next 365 days.\n\nEstimates, not bookings: before refunds and costs, not "
        "discounted, blind to season and campaigns. Where too few customers bought again, nothing is predicted."
    ),
}
"""The tables of `marts`, with what they hold."""

HORIZON_DAYS = 365

MINIMUM_REPEAT_CUSTOMERS = 100
"""With fewer, the parameters would tell of these customers' luck."""

History = tuple[str, int, int, int, Decimal | None]
"""A customer's purchases: who, frequency, recency in days, age in days, and the mean value after the first one."""

# A purchase is a day with orders: two on one day are one decision to buy, which is how the models' authors count, too.
_READ = """
    with purchases as (
        select
            tenant_id, currency, customer_id, ordered_on, sum(revenue) as value,
            row_number() over (partition by tenant_id, currency, customer_id order by ordered_on) as number
        from marts.fct_orders
        where status <> 'cancelled'
        group by tenant_id, currency, customer_id, ordered_on
    ),
    tenants as materialized (  -- the watermark is looked up once per tenant, not once per purchase
        select tenant_id, (progress.watermark(tenant_id) at time zone 'UTC')::date as as_of_on
        from (select distinct tenant_id from progress.watermarks) as known
    )
    select
        tenant_id, currency, as_of_on, customer_id,
        (count(*) - 1)::integer as frequency,
        max(ordered_on) - min(ordered_on) as recency_days,
        as_of_on - min(ordered_on) as age_days,
        avg(value) filter (where number > 1) as mean_purchase_value
    from purchases
    join tenants using (tenant_id)
    group by tenant_id, currency, as_of_on, customer_id
    order by tenant_id, currency, customer_id
"""

_WRITE_MODELS = """
    copy marts.lifetime_value_models (
        tenant_id, currency, as_of_on, customers, repeat_customers, r, alpha, a, b, p, q, v, problem, model_version
    ) from stdin
"""

_WRITE_VALUES = """
    copy marts.customer_lifetime_values (
        tenant_id, customer_id, currency, as_of_on, frequency, recency_days, age_days, mean_purchase_value,
        probability_alive, horizon_days, expected_purchases, expected_purchase_value, predicted_value, model_version
    ) from stdin
"""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The customers of a tenant who bought in a currency, and what to expect of them.

    Attributes:
        tenant_id: whose customers they are.
        currency: what they paid in.
        as_of_on: the day that ages are counted to.
        histories: what each bought.
        purchases: how often they buy, None where that cannot be told.
        values: for how much, None where that cannot be told.
        problem: why one of the two cannot.
        predictions: of each customer the probability to be alive, the purchases within the horizon, the value of one,
            and of all of them; None where that cannot be told.
    """

    tenant_id: str
    currency: str
    as_of_on: date
    histories: Sequence[History]
    purchases: PurchaseModel | None
    values: ValueModel | None
    problem: str | None
    predictions: Sequence[Sequence[float | None]]


def outlooks(connection: Connection) -> list[Outlook]:
    """Read what every tenant's customers bought, as of the tenant's watermark, and fit the models."""
    rows = connection.execute(_READ).fetchall()
    found: list[Outlook] = []
    for (tenant_id, currency, as_of_on), group in groupby(rows, key=itemgetter(0, 1, 2)):
        found.append(outlook(tenant_id, currency, as_of_on, [row[3:] for row in group]))
    return found


def outlook(tenant_id: str, currency: str, as_of_on: date, histories: Sequence[History]) -> Outlook:
    """Fit the models to the histories and predict; where these are too few or too odd, say so instead."""
    import numpy as np

    from analytics_pipelines.warehouse.purchase_models import PurchaseModel, ValueModel

    numbers = np.array([(*history[1:4], history[4] or 0) for history in histories], dtype=np.float64)
    frequency, recency, age, mean_value = numbers.T
    purchases, values, problem = None, None, None
    alive = expected = value = np.full(len(histories), np.nan)
    try:
        _require(int((frequency > 0).sum()), "bought on more than one day")
        purchases = PurchaseModel.fit(frequency, recency, age)
        alive = purchases.probability_alive(frequency, recency, age)
        expected = purchases.expected_purchases(frequency, recency, age, HORIZON_DAYS)
        _require(int((mean_value > 0).sum()), "paid for a purchase after the first one")
        values = ValueModel.fit(frequency, mean_value)
        value = values.expected_value(frequency, mean_value)
    except PipelinesError as error:
        problem = str(error)
    found = np.column_stack([alive, expected, value, expected * value]).tolist()
    predictions = [[number if isfinite(number) else None for number in row] for row in found]
    return Outlook(tenant_id, currency, as_of_on, histories, purchases, values, problem, predictions)


def replace(connection: Connection, found: Iterable[Outlook]) -> None:
    """Replace the rows of both tables, in the connection's transaction: readers see the old ones until it commits."""
    with connection.cursor() as cursor:
        cursor.execute("delete from marts.lifetime_value_models")
        cursor.execute("delete from marts.customer_lifetime_values")
        with cursor.copy(_WRITE_MODELS) as copy:
            for one in found:
                copy.write_row(_model_row(one))
        with cursor.copy(_WRITE_VALUES) as copy:
            for one in found:
                for row in _value_rows(one):
                    copy.write_row(row)


def summary(found: Iterable[Outlook]) -> dict[str, str]:
    """Say in one line per tenant and currency what is expected, or why nothing is."""
    return {f"{one.tenant_id}, {one.currency}": _summary(one) for one in found}


def _require(customers: int, what: str) -> None:
    if customers < MINIMUM_REPEAT_CUSTOMERS:
        raise PipelinesError(
            f"no prediction: {customers} customers {what}, at least {MINIMUM_REPEAT_CUSTOMERS} are needed"
        )


def _model_row(one: Outlook) -> tuple[object, ...]:
    repeated = sum(history[1] > 0 for history in one.histories)
    parameters = (
        *(astuple(one.purchases) if one.purchases else [None] * 4),
        *(astuple(one.values) if one.values else [None] * 3),
    )
    counts = (len(one.histories), repeated)
    return (one.tenant_id, one.currency, one.as_of_on, *counts, *parameters, one.problem, VERSION)


def _value_rows(one: Outlook) -> Iterator[tuple[object, ...]]:
    for (customer_id, *bought), (alive, *expected) in zip(one.histories, one.predictions, strict=True):
        known = (one.tenant_id, customer_id, one.currency, one.as_of_on, *bought)
        yield (*known, alive, HORIZON_DAYS, *expected, VERSION)


def _summary(one: Outlook) -> str:
    if one.problem is not None:
        return one.problem
    total = sum(row[3] or 0 for row in one.predictions)
    return f"{total:,.2f} {one.currency} of {len(one.histories):,} customers in {HORIZON_DAYS} days from {one.as_of_on}"
