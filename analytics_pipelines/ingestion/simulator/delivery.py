"""How the events of the simulated world reach us: in which order, some late, some twice; and the truth about them.

Defines `simulate`, `truth` and `Truth`. Add here what happens to events on their way; what they are about is in
`world`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

from analytics_pipelines.ingestion.simulator.payloads import events_of
from analytics_pipelines.ingestion.simulator.rows import DAY, EVENT, EVENT_TYPES, HOUR, SECOND, START
from analytics_pipelines.ingestion.simulator.world import CONVERTED_BY_VARIANT, PACK_CENTS, VARIANTS, World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from analytics_pipelines.event_log.event import NewEvent
    from analytics_pipelines.ingestion.simulator.rows import Rows

ARRIVES_WITHIN = 60 * SECOND
LATE_SHARE = 0.02
LATE_MEAN, LATE_MOST = 10 * DAY, 90 * DAY
REPEATED_SHARE = 0.01
REPEATED_AFTER, REPEATED_MOST = 6 * HOUR, 7 * DAY
# What changes the stock, which way, and the column that tells the pack.
_STOCK = (("stock_received", 1, "subject"), ("stock_reserved", -1, "other"), ("stock_released", 1, "other"))


@dataclass(frozen=True, slots=True)
class Truth:
    """What the simulator knows of its world, without reading its own events.

    Attributes:
        events: how many arrive, repeats included.
        counts: how many distinct events there are of each type.
        repeated: how many arrive that had arrived before.
        late: how many arrive, repeats included, after an event that occurred more than a day later.
        planted_conversion: the probability of conversion, by variant of the experiment.
        exposed: how many subjects saw the variant.
        converted: how many of them converted.
        deals_won: the amount of all deals won, USD.
        order_revenue: the revenue of all orders that were not cancelled, USD; refunds are not taken off.
        refunded: the amount of all refunds, USD.
        minutes_saved: the value of all conversions, by variant of the experiment, each cut to hundredths.
        stock: units of each pack that are left, in the order of the packs.
    """

    events: int
    counts: Mapping[str, int]
    repeated: int
    late: int
    planted_conversion: Mapping[str, float]
    exposed: Mapping[str, int]
    converted: Mapping[str, int]
    deals_won: Decimal
    order_revenue: Decimal
    refunded: Decimal
    minutes_saved: Mapping[str, Decimal]
    stock: tuple[int, ...]


def simulate(events: int, seed: int) -> Iterator[NewEvent]:
    """Yield exactly so many simulated events of the year 2017, in the order in which they arrive.

    The same numbers give the same events (with the same version of numpy). Two of a hundred events arrive late, by one
    to 90 days; one of a hundred arrivals repeats an earlier one, identity and content. Memory holds who exists in the
    world, the events of a day, and those on their way.
    """
    world = World(events, seed)
    for rows in _arrivals(world, events):
        yield from events_of(world, rows)


def truth(events: int, seed: int) -> Truth:
    """Return the truth about what `simulate` yields for the same numbers, counted before there is any text."""
    world = World(events, seed)
    counts: Counter[str] = Counter()
    cents: Counter[str] = Counter()
    exposed, converted = np.zeros(len(VARIANTS), np.int64), np.zeros(len(VARIANTS), np.int64)
    saved, stock = np.zeros(len(VARIANTS), np.int64), np.zeros(len(PACK_CENTS), np.int64)
    repeated = late = newest = 0
    for arrived in _arrivals(world, events):
        newest_yet = np.maximum.accumulate(np.append(newest, arrived["at"]))
        late += int((newest_yet[:-1] - arrived["at"] > DAY).sum())
        newest = newest_yet[-1]
        repeated += int(arrived["repeats"].sum())

        rows_by_type = _by_type(arrived[~arrived["repeats"]])
        counts.update({event_type: len(rows) for event_type, rows in rows_by_type.items()})
        cents["deal_won"] += int(rows_by_type["deal_won"]["value"].sum())
        for event_type in ("order_placed", "order_cancelled", "order_refunded"):
            rows = rows_by_type[event_type]
            cents[event_type] += int((np.array(PACK_CENTS)[rows["other"]] * rows["value"]).sum())
        exposed += _by_variant(world, rows_by_type["experiment_exposed"])
        converted += _by_variant(world, rows_by_type["experiment_converted"])
        rows = rows_by_type["experiment_converted"]
        np.add.at(saved, world.workspace_variant[rows["subject"]], rows["value"] * 100 // 60)
        for event_type, sign, pack in _STOCK:
            np.add.at(stock, rows_by_type[event_type][pack], sign * rows_by_type[event_type]["value"])
    return Truth(
        events=counts.total() + repeated,
        counts=dict(counts),
        repeated=repeated,
        late=late,
        planted_conversion=dict(zip(VARIANTS, CONVERTED_BY_VARIANT.tolist(), strict=True)),
        exposed=dict(zip(VARIANTS, exposed.tolist(), strict=True)),
        converted=dict(zip(VARIANTS, converted.tolist(), strict=True)),
        deals_won=Decimal(cents["deal_won"]) / 100,
        order_revenue=Decimal(cents["order_placed"] - cents["order_cancelled"]) / 100,
        refunded=Decimal(cents["order_refunded"]) / 100,
        minutes_saved={name: Decimal(cut) / 100 for name, cut in zip(VARIANTS, saved.tolist(), strict=True)},
        stock=tuple(stock.tolist()),
    )


def _arrivals(world: World, events: int) -> Iterator[Rows]:
    """Yield what arrives on each day, in order, and at last what is still on its way when the year has ended."""
    on_the_way = np.zeros(0, EVENT)
    sent = 0
    for day, due in enumerate((np.cumsum(world.activity) * events).round().astype(int).tolist()):
        missing = max(0, due - sent)
        repeats = min(world.random.binomial(missing, REPEATED_SHARE), missing // 2)
        # When the events are spent, the world stops in the middle of a day; no consequence comes without its cause.
        begun = world.day(day)[: events - sent - repeats]
        executions = max(0, missing - repeats - len(begun))
        rows = _send(world, np.concatenate([begun, world.executions(day, executions)]))
        again = _repeat(world, rows, repeats)
        sent += len(rows) + len(again)
        on_the_way = np.concatenate([on_the_way, rows, again])
        arrives_today = on_the_way["arrival"] < START + (day + 1) * DAY
        yield _in_order(on_the_way[arrives_today])
        on_the_way = on_the_way[~arrives_today]
    yield _in_order(on_the_way)


def _send(world: World, rows: Rows) -> Rows:
    """Send the rows off: most arrive within minutes, some days or weeks late."""
    count = len(rows)
    late = world.random.random(count) < LATE_SHARE
    minutes = world.random.exponential(ARRIVES_WITHIN, count)
    days = DAY + world.random.exponential(LATE_MEAN, count)
    rows["arrival"] = rows["at"] + np.where(late, np.minimum(days, LATE_MOST), minutes).astype(np.int64)
    return rows


def _repeat(world: World, rows: Rows, count: int) -> Rows:
    """Return so many of the rows, to arrive once more."""
    again = rows[world.random.choice(len(rows), count, replace=False)]
    after = SECOND + np.minimum(world.random.exponential(REPEATED_AFTER, count), REPEATED_MOST)
    again["arrival"] += after.astype(np.int64)
    again["repeats"] = True
    return again


def _in_order(rows: Rows) -> Rows:
    return rows[np.argsort(rows["arrival"], kind="stable")]


def _by_type(rows: Rows) -> dict[str, Rows]:
    return {event_type: rows[rows["kind"] == kind] for kind, event_type in enumerate(EVENT_TYPES)}


def _by_variant(world: World, rows: Rows) -> npt.NDArray[np.int64]:
    return np.bincount(world.workspace_variant[rows["subject"]], minlength=len(VARIANTS))
