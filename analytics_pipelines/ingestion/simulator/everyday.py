"""What goes on in the simulated world from day to day, and from which nothing else follows.

Defines, for a `World` and a day, who joins, and sessions, messages, meetings, stages of deals and the stock of credit
packs. Add a process here when no other process follows from it; its payload is in `payloads`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analytics_pipelines.ingestion.simulator.rows import DAY, HOUR, SECOND, START, of_day, rows_of

if TYPE_CHECKING:
    from analytics_pipelines.ingestion.simulator.rows import Flags, Integers, Rows
    from analytics_pipelines.ingestion.simulator.world import World

# Per event of the whole simulation.
SESSIONS = 0.04
MESSAGES = 0.03

SESSION_MEAN = 20 * 60 * SECOND
REPORTS_TO = 0.30
MEETING_PER_REPLY, MEETING_HELD = 0.40, 0.80
MEETING_MEAN = HOUR // 2
STAGES = ("qualified", "proposal", "negotiation")
STOCK_EVERY_DAYS = 30
# Packs sold in a month, per event of the whole simulation, with something to spare.
STOCK_PER_EVENT = (0.002, 0.001, 0.00035)
COST_SHARES = (0.30, 0.25)
"""What a pack costs the seller, as a share of its price: from the first day on, and from the middle of the year on."""
REPRESENTATIVES = 12


def master_data(world: World, day: int) -> list[Rows]:
    """Return who and what comes into being on a day, beside leads, workspaces and campaigns."""
    leads, users, agents = (of_day(made, day) for made in (world.lead_created, world.user_created, world.agent_created))
    companies = np.intersect1d(leads, world.company_leads)
    representatives = np.arange(REPRESENTATIVES if day == 0 else 0)
    return [
        rows_of(
            "sales_representative_registered", np.full(len(representatives), START), (representatives, representatives)
        ),
        rows_of("company_created", world.lead_created[companies], (companies, companies)),
        _managers(world, leads),
        rows_of("user_registered", world.user_created[users], (users, users)),
        rows_of("agent_created", world.agent_created[agents], (agents, agents)),
        *_stock(world, day),
    ]


def _managers(world: World, leads: Integers) -> Rows:
    """Return who of the new leads reports to a lead that is known already."""
    manager = world.pick(leads)
    chosen = (world.random.random(len(leads)) < REPORTS_TO) & (manager != leads)
    assigned_at = world.lead_created[leads] + world.delays(DAY, len(leads))
    return rows_of("manager_assigned", assigned_at, (leads, leads, manager), chosen=chosen)


def _stock(world: World, day: int) -> list[Rows]:
    """Return what packs cost, and the licences for them that come in."""
    packs = np.arange(len(STOCK_PER_EVENT))
    morning = np.full(len(packs), START + day * DAY)
    rows: list[Rows] = []
    if day == 0:
        rows += [rows_of(event_type, morning, (packs, packs)) for event_type in ("price_changed", "reorder_point_set")]
    if day in {0, 182}:
        rows.append(rows_of("cost_price_changed", morning, (packs, packs, np.full(len(packs), int(day > 0)))))
    if day % STOCK_EVERY_DAYS == 0:
        delivery = np.full(len(packs), day // STOCK_EVERY_DAYS)
        rows.append(rows_of("stock_received", morning, (delivery, packs, packs, stock_received(world.size))))
    return rows


def stock_received(events: int) -> Integers:
    """Return how many of each pack come in every month."""
    return 10 + (np.array(STOCK_PER_EVENT) * events).astype(np.int64)


def messages(world: World, day: int) -> Rows:
    """Return who of the leads writes to whom."""
    count = world.how_many(MESSAGES, day)
    at = world.moments(np.full(count, day))
    existing = np.searchsorted(world.lead_created, at, side="right")
    sender, recipient = world.pick(existing), world.pick(existing)
    about = world.numbers("exchange", count), sender, recipient
    return rows_of("message_exchanged", at, about, chosen=sender != recipient)


def sessions(world: World, day: int) -> list[Rows]:
    """Return when people use the app. A bot, and somebody who is not there yet, begins no session."""
    count = world.how_many(SESSIONS, day)
    at = world.moments(np.full(count, day))
    user = world.pick(np.searchsorted(world.user_created, at - HOUR, side="right"))
    lasts = world.delays(SESSION_MEAN, count)
    chosen = (world.user_created[user] < at - HOUR) & ~world.user_is_bot[user]
    session = world.numbers("session", count), user, world.user_workspace[user], lasts
    return [
        rows_of("session_started", at, session, chosen=chosen),
        rows_of("session_ended", at + lasts, session, chosen=chosen),
    ]


def meetings(world: World, replies: Rows) -> list[Rows]:
    """Return the meetings that replies lead to: agreed a few hours later, and most of them held within days."""
    replies = replies[world.random.random(len(replies)) < MEETING_PER_REPLY]
    count = len(replies)
    scheduled_at = replies["at"] + world.delays(4 * HOUR, count)
    lasts = world.delays(MEETING_MEAN, count)
    representative = world.random.integers(0, REPRESENTATIVES, count)
    meeting = world.numbers("meeting", count), replies["subject"], representative, lasts
    return [
        rows_of("meeting_scheduled", scheduled_at, meeting),
        rows_of(
            "meeting_held",
            scheduled_at + world.delays(3 * DAY, count),
            meeting,
            chosen=world.random.random(count) < MEETING_HELD,
        ),
    ]


def stages(
    world: World, deal: tuple[Integers, Integers], opened_at: Integers, closed_at: Integers, won: Flags
) -> list[Rows]:
    """Return the stages that deals pass before they are closed: those won pass all, those lost stop at any of them."""
    count = len(opened_at)
    reached = np.where(won, len(STAGES), world.random.integers(0, len(STAGES) + 1, count))
    step = (closed_at - opened_at) // (len(STAGES) + 1)
    return [
        rows_of(
            "deal_stage_changed",
            opened_at + (stage + 1) * step,
            (*deal, np.full(count, stage)),
            chosen=reached > stage,
        )
        for stage in range(len(STAGES))
    ]
