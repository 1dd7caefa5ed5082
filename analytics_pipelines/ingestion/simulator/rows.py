"""Simulated events as rows of numbers: their types, their columns, the simulated year.

Defines `EVENT`, `EVENT_TYPES` and `rows_of`. Add an event type here; when it happens is in `world` and `everyday`, how
it reads in `payloads`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Integers: TypeAlias = npt.NDArray[np.int64]
    Numbers: TypeAlias = npt.NDArray[np.float64]
    Flags: TypeAlias = npt.NDArray[np.bool_]
    Rows: TypeAlias = npt.NDArray[np.void]

# Events of the same moment come in this order, so that nothing is mentioned before it exists.
EVENT_TYPES = (
    "sales_representative_registered",
    "product_added",
    "price_changed",
    "cost_price_changed",
    "reorder_point_set",
    "stock_received",
    "campaign_launched",
    "company_created",
    "lead_created",
    "manager_assigned",
    "workspace_created",
    "customer_registered",
    "user_registered",
    "agent_created",
    "experiment_exposed",
    "experiment_converted",
    "introduction_made",
    "message_exchanged",
    "email_sent",
    "email_opened",
    "email_clicked",
    "email_replied",
    "meeting_scheduled",
    "meeting_held",
    "deal_opened",
    "deal_stage_changed",
    "deal_won",
    "deal_lost",
    "order_placed",
    "stock_reserved",
    "order_paid",
    "order_delivered",
    "credits_granted",
    "order_cancelled",
    "stock_released",
    "order_refunded",
    "session_started",
    "agent_execution_started",
    "agent_execution_completed",
    "agent_execution_failed",
    "session_ended",
    "campaign_launch_requested",
)
ABOUT = ("number", "subject", "other", "value")
KINDS = {event_type: kind for kind, event_type in enumerate(EVENT_TYPES)}

# One event as numbers. Times are milliseconds since 1970 (UTC).
EVENT = np.dtype(
    [
        ("kind", np.int8),  # index into EVENT_TYPES
        ("at", np.int64),  # when it occurred
        ("number", np.int64),  # of the message, deal, order, execution ... it tells about
        ("subject", np.int32),  # the lead, workspace or agent it happens to
        ("other", np.int32),  # the second party: a campaign, the lead introduced, the pack bought ...
        ("value", np.int64),  # cents, milliseconds or a quantity
        ("arrival", np.int64),  # when it reaches us
        ("repeats", np.bool_),  # whether it had reached us before
    ]
)

FIRST_DAY = date(2017, 1, 1)
DAYS = 365
SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp()) * SECOND
END = START + DAYS * DAY


def rows_of(event_type: str, at: Integers, about: Sequence[Integers], *, chosen: Flags | None = None) -> Rows:
    """Return events of one type: the chosen ones (default: all), as far as they occur before the year ends.

    Args:
        event_type: the type of all of them.
        at: when they occur.
        about: what they tell about, as `EVENT` has it: number, subject, and where they matter other and value.
        chosen: which of them happen.
    """
    rows = np.zeros(len(at), EVENT)
    rows["kind"], rows["at"] = KINDS[event_type], at
    for column, values in zip(ABOUT, about, strict=False):
        rows[column] = values
    within = at < END
    return rows[within if chosen is None else within & chosen]


def of_day(created: Integers, day: int) -> Integers:
    """Return the numbers of those that came into being on this day (0 to 364); they are numbered by when they did."""
    begin = START + day * DAY
    bounds: list[int] = np.searchsorted(created, [begin, begin + DAY]).tolist()
    return np.arange(*bounds)
