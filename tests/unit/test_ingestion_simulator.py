"""What the simulator promises: reproducible events of a consistent world, badly delivered, with a known truth."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.ingestion.simulator import Truth, simulate, truth
from analytics_pipelines.ingestion.simulator.rows import EVENT_TYPES
from analytics_pipelines.ingestion.simulator.world import (
    CLICKED_BY_SOURCE,
    INDUSTRIES,
    LEAD_SOURCES,
    OPENED_BY_INDUSTRY,
    PACK_CREDITS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analytics_pipelines.event_log.event import NewEvent

EVENTS, SEED = 20_000, 1


@pytest.fixture(scope="module")
def arrivals() -> list[NewEvent]:
    """Return the events of a small world, as they arrive."""
    return list(simulate(EVENTS, SEED))


@pytest.fixture(scope="module")
def known() -> Truth:
    """Return the truth about the small world."""
    return truth(EVENTS, SEED)


@pytest.fixture(scope="module")
def distinct(arrivals: list[NewEvent]) -> list[NewEvent]:
    """Return the events of the small world once each, in event-time order."""
    by_id = {event.event_id: event for event in arrivals}
    return sorted(by_id.values(), key=lambda event: (event.occurred_at, event.sequence, event.event_id))


def _payload(event: NewEvent) -> dict[str, Any]:
    assert isinstance(event.data, str)
    return json.loads(event.data, parse_float=Decimal)


def _of(events: Iterable[NewEvent], event_type: str) -> list[dict[str, Any]]:
    return [_payload(event) for event in events if event.event_type == event_type]


def _within_binomial_bounds(successes: int, trials: int, probability: float) -> bool:
    """Tell whether successes are within four standard deviations of what the probability makes expect."""
    return abs(successes - trials * probability) <= 4 * (trials * probability * (1 - probability)) ** 0.5


def test_same_numbers_give_the_same_events(arrivals: list[NewEvent]) -> None:
    """The same size and seed give equal events in the same order; another seed gives others."""
    assert list(simulate(EVENTS, SEED)) == arrivals
    assert list(simulate(EVENTS, SEED + 1)) != arrivals


@pytest.mark.parametrize("events", [0, 1, 10, 333, 1_001])
def test_number_of_events_is_exact(events: int) -> None:
    """As many events arrive as were asked for, however few."""
    for seed in (0, 2):
        assert sum(1 for _ in simulate(events, seed)) == events


def test_truth_counts_what_arrives(arrivals: list[NewEvent], distinct: list[NewEvent], known: Truth) -> None:
    """The truth, counted before there is text, has the events of each type, the repeats and the late ones right."""
    day = timedelta(days=1)
    newest, late = arrivals[0].occurred_at, 0
    for event in arrivals:
        late += newest - event.occurred_at > day
        newest = max(newest, event.occurred_at)
    assert known.events == len(arrivals)
    assert known.counts == Counter(event.event_type for event in distinct)
    assert known.repeated == len(arrivals) - len(distinct)
    assert known.late == late


def test_truth_knows_the_stock(distinct: list[NewEvent], known: Truth) -> None:
    """What came in, less what orders set aside, more what cancelled ones gave back, is the stock of the truth."""
    stock = Counter[str]()
    for event_type, sign in (("stock_received", 1), ("stock_reserved", -1), ("stock_released", 1)):
        for moved in _of(distinct, event_type):
            stock[moved["product_id"]] += sign * moved["quantity"]
    assert tuple(stock[f"credits-{credits_}"] for credits_ in PACK_CREDITS) == known.stock
    assert min(known.stock) > 0


def test_truth_knows_the_money(distinct: list[NewEvent], known: Truth) -> None:
    """Deals won, orders not cancelled and refunds add up to the truth, to the cent."""
    cancelled = {order["order_id"] for order in _of(distinct, "order_cancelled")}
    orders = [order for order in _of(distinct, "order_placed") if order["order_id"] not in cancelled]
    assert sum(deal["amount"] for deal in _of(distinct, "deal_won")) == known.deals_won > 0
    assert sum(line["revenue"] for order in orders for line in order["lines"]) == known.order_revenue > 0
    assert sum(order["amount"] for order in _of(distinct, "order_refunded")) == known.refunded > 0


def test_all_types_occur_and_fit_their_schemas(distinct: list[NewEvent]) -> None:
    """A small world already shows every type, and every payload is valid by the catalog."""
    assert {event.event_type for event in distinct} == set(EVENT_TYPES)
    for event in distinct:
        assert isinstance(event.data, str)
        SCHEMAS[event.event_type, event.schema_version].model_validate_json(event.data)


def test_all_happens_within_the_year(distinct: list[NewEvent]) -> None:
    """Every event occurs in 2017, UTC."""
    assert distinct[0].occurred_at >= datetime(2017, 1, 1, tzinfo=UTC)
    assert distinct[-1].occurred_at < datetime(2018, 1, 1, tzinfo=UTC)


def test_some_events_arrive_late(arrivals: list[NewEvent], known: Truth) -> None:
    """About two in a hundred arrive more than a day late, some by weeks, none by more than 100 days."""
    newest, delays = arrivals[0].occurred_at, list[timedelta]()
    for event in arrivals:
        delays.append(newest - event.occurred_at)
        newest = max(newest, event.occurred_at)
    assert 0.01 < known.late / known.events < 0.03
    assert timedelta(days=30) < max(delays) < timedelta(days=100)


def test_repeats_are_identical(arrivals: list[NewEvent], known: Truth) -> None:
    """About one in a hundred arrives again, as the very same event; no two events share an identity otherwise."""
    versions: defaultdict[str, set[NewEvent]] = defaultdict(set)
    for event in arrivals:
        versions[event.event_id].add(event)
    assert all(len(same) == 1 for same in versions.values())
    assert 0.005 < known.repeated / known.events < 0.015


def test_nothing_is_mentioned_before_it_exists(distinct: list[NewEvent]) -> None:
    """In event-time order, everything that an event refers to has come into being, and only once."""
    created_by = {
        "sales_representative_registered": ("sales_representative_id",),
        "product_added": ("product_id",),
        "campaign_launched": ("campaign_id",),
        "company_created": ("company_id",),
        "lead_created": ("lead_id",),
        "workspace_created": ("workspace_id",),
        "user_registered": ("user_id",),
        "agent_created": ("agent_id",),
        "session_started": ("session_id",),
        "message_exchanged": ("message_id",),
        "meeting_scheduled": ("meeting_id",),
        "customer_registered": ("customer_id",),
        "email_sent": ("message_id",),
        "deal_opened": ("deal_id",),
        "order_placed": ("order_id",),
        "campaign_launch_requested": ("campaign_id",),
    }
    leads = ("introducer_id", "introduced_id", "sender_id", "recipient_id", "manager_id")
    same_as = {**dict.fromkeys(leads, "lead_id"), "subject_id": "workspace_id"}
    checked = {
        "sales_representative_id",
        "company_id",
        "lead_id",
        "user_id",
        "agent_id",
        "session_id",
        "meeting_id",
        "campaign_id",
        "workspace_id",
        "customer_id",
        "product_id",
        "message_id",
        "deal_id",
        "order_id",
    }
    exists: set[tuple[str, str]] = set()
    for event in distinct:
        payload = _payload(event)
        mentioned = {(same_as.get(field, field), value) for field, value in payload.items() if isinstance(value, str)}
        mentioned |= {("product_id", line["product_id"]) for line in payload.get("lines", [])}
        new = {(field, payload[field]) for field in created_by.get(event.event_type, ())}
        assert not new & exists
        exists |= new
        assert {(field, value) for field, value in mentioned if field in checked} <= exists


def test_orders_end_once(distinct: list[NewEvent]) -> None:
    """An order is paid, delivered and its credits granted, or it is cancelled; what is refunded was paid."""
    happened: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in distinct:
        if event.event_type.startswith("order_") or event.event_type == "credits_granted":
            payload = _payload(event)
            assert event.event_type not in happened[payload["order_id"]]
            happened[payload["order_id"]][event.event_type] = payload
    fulfilled = {"order_placed", "order_paid", "order_delivered", "credits_granted"}
    for order in happened.values():
        if {"order_paid", "order_refunded"} & order.keys():
            assert order.keys() - {"order_refunded"} == fulfilled
            total = sum(line["revenue"] for line in order["order_placed"]["lines"])
            assert {order[name]["amount"] for name in ("order_paid", "order_refunded") if name in order} == {total}
        else:
            assert order.keys() <= {"order_placed", "order_cancelled"}


def test_two_campaigns_are_requested(distinct: list[NewEvent]) -> None:
    """Late in the year one campaign with an audience and one without are requested, by a workspace with the budget."""
    requests = _of(distinct, "campaign_launch_requested")
    industries = {lead["industry"] for lead in _of(distinct, "lead_created")}
    assert [request["audience_industry"] in industries for request in requests] == [True, False]
    for request in requests:
        workspace_id, budget = request["workspace_id"], request["budget_credits"]
        granted = sum(
            grant["credits"] for grant in _of(distinct, "credits_granted") if grant["workspace_id"] == workspace_id
        )
        used = sum(
            execution["credits"]
            for event_type in ("agent_execution_completed", "agent_execution_failed")
            for execution in _of(distinct, event_type)
            if execution["workspace_id"] == workspace_id
        )
        assert granted - used > 2 * budget


def test_experiment_has_the_planted_lift() -> None:
    """Each workspace sees one variant once, and each variant converts as often as was planted."""
    world = truth(1_500_000, SEED)
    assert sum(world.exposed.values()) == world.counts["experiment_exposed"] == world.counts["workspace_created"]
    assert world.planted_conversion == {"control": 0.20, "treatment": 0.26}
    for variant, probability in world.planted_conversion.items():
        assert _within_binomial_bounds(world.converted[variant], world.exposed[variant], probability)


def test_experiment_is_told_by_events(distinct: list[NewEvent], known: Truth) -> None:
    """Exposures and conversions by variant, counted from events, equal the truth."""
    variants = {exposed["subject_id"]: exposed["variant"] for exposed in _of(distinct, "experiment_exposed")}
    assert Counter(variants.values()) == known.exposed
    conversions = _of(distinct, "experiment_converted")
    assert Counter(variants[one["subject_id"]] for one in conversions) == known.converted
    saved: Counter[str] = Counter()
    for conversion in conversions:
        saved[variants[conversion["subject_id"]]] += conversion["value"]
    assert saved == known.minutes_saved


def test_funnels_differ_as_planted(distinct: list[NewEvent]) -> None:
    """Leads of each industry open, and leads from each source click, as often as was planted."""
    leads = {lead["lead_id"]: lead for lead in _of(distinct, "lead_created")}
    counts: Counter[tuple[str, str]] = Counter()
    for event_type in ("email_sent", "email_opened", "email_clicked"):
        for email in _of(distinct, event_type):
            lead = leads[email["lead_id"]]
            counts.update([(event_type, lead["industry"]), (event_type, lead["lead_source"])])
    for industry, opens in zip(INDUSTRIES, OPENED_BY_INDUSTRY.tolist(), strict=True):
        assert _within_binomial_bounds(counts["email_opened", industry], counts["email_sent", industry], opens)
    for source, clicks in zip(LEAD_SOURCES, CLICKED_BY_SOURCE.tolist(), strict=True):
        assert _within_binomial_bounds(counts["email_clicked", source], counts["email_opened", source], clicks)


def test_introductions_have_hubs_and_communities(distinct: list[NewEvent]) -> None:
    """Most introductions stay within an industry, and a tenth of the leads gets more than half of them."""
    industry = {lead["lead_id"]: lead["industry"] for lead in _of(distinct, "lead_created")}
    pairs = [(one["introducer_id"], one["introduced_id"]) for one in _of(distinct, "introduction_made")]
    assert all(introducer != introduced for introducer, introduced in pairs)
    assert sum(industry[introducer] == industry[introduced] for introducer, introduced in pairs) > 0.8 * len(pairs)
    received = Counter(introduced for _, introduced in pairs)
    hubs = [count for _, count in received.most_common(len(industry) // 10)]
    assert sum(hubs) > 0.5 * len(pairs)


def test_revenue_has_a_week_and_a_trend(distinct: list[NewEvent]) -> None:
    """Working days bring more orders than weekends, the second half of the year more than the first."""
    days = [event.occurred_at for event in distinct if event.event_type == "order_placed"]
    weekend = sum(day.weekday() >= 5 for day in days)
    assert weekend / 2 < 0.6 * (len(days) - weekend) / 5
    assert sum(day.month > 6 for day in days) > 1.05 * len(days) / 2


def test_one_stream_in_a_thousand_is_hot(distinct: list[NewEvent]) -> None:
    """A thousandth of the streams holds more than a tenth of the events."""
    streams = Counter(event.stream_id for event in distinct)
    hot = streams.most_common(max(1, len(streams) // 1_000))
    assert sum(count for _, count in hot) > 0.1 * len(distinct)


def test_it_says_that_it_is_simulated(distinct: list[NewEvent]) -> None:
    """The source of every event, and every name of a company, campaign or product, says that it is simulated."""
    assert {event.source for event in distinct} == {"simulator"}
    names = [lead["company"] for lead in _of(distinct, "lead_created")]
    for event_type in ("campaign_launched", "campaign_launch_requested", "product_added"):
        names += [thing["name"] for thing in _of(distinct, event_type)]
    assert all("simulated" in name.lower() for name in names)


def test_payloads_are_small(arrivals: list[NewEvent]) -> None:
    """The mean payload is at most 300 bytes."""
    assert sum(len(str(event.data).encode()) for event in arrivals) / len(arrivals) <= 300


def test_memory_does_not_grow_with_the_events() -> None:
    """Reading the first 50,000 of ten million events takes less than 100 MB: the year is made day by day."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in islice(simulate(10_000_000, SEED), 50_000)) == 50_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000_000
