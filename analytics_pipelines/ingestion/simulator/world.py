"""The simulated world of the tenant `saas`: who exists, and what happens to whom on each day of 2017.

Defines the model and its numbers, as columns; nothing here is text. Add a process here when others follow from it, to
`everyday` when none does, and its payload in `payloads`; what becomes of events on their way to us (late, repeated) is
in `delivery`.

A vendor of an app for sales teams, in its simulated year:

- **Leads** of simulated companies enter the CRM, a tenth of them at the start, the others along a rising, weekly curve.
  They introduce each other: mostly within their industry, and mostly those whom others introduced before, which makes
  few leads central and each industry a community.
- **Campaigns** start every 15 days and send **e-mails** to leads. Whether one is opened depends on the lead's industry,
  whether a link is clicked on where the lead came from. Some replies become **deals**, won more often in some
  industries than in others.
- Every fifth lead gets a **workspace**, is a customer from then on and a subject of one **experiment**. Its **agents**
  execute tasks; hot agents, one stream in a thousand, do two fifths of them. Its **users** work in sessions; every
  fourth workspace has a bot among them, which begins none.
- Workspaces buy packs of **credits**: orders that are paid and delivered at once, or cancelled, and sometimes refunded.
  Licences for these come in every month, are set aside for each order and given back when it is cancelled.
- Late in the year two campaigns are requested, one of which addresses an industry in which there is no lead.

What is mentioned exists by then. What would happen after the year has ended does not happen. The number of events is
given: executions fill up what the other processes leave, two fifths of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from analytics_pipelines.ingestion.simulator import everyday
from analytics_pipelines.ingestion.simulator.rows import (
    DAY,
    DAYS,
    END,
    FIRST_DAY,
    HOUR,
    KINDS,
    SECOND,
    START,
    of_day,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_pipelines.ingestion.simulator.rows import Flags, Integers, Numbers, Rows

# Per event of the whole simulation. Executions are the rest, about two fifths.
LEADS = 0.02
INTRODUCTIONS = 0.03
EMAILS = 0.15
ORDERS = 0.02

# Activity from Monday to Sunday, and how much more there is at the end of the year than at its beginning.
WEEK = (1.15, 1.20, 1.20, 1.10, 1.00, 0.50, 0.40)
GROWTH = 2.2

INDUSTRIES = ("Software", "Retail", "Finance", "Healthcare", "Logistics", "Education", "Media", "Energy")
INDUSTRY_SHARES = (0.24, 0.18, 0.14, 0.12, 0.10, 0.09, 0.07, 0.06)
LEAD_SOURCES = ("website", "referral", "event", "outbound")
LEAD_SOURCE_SHARES = (0.40, 0.25, 0.15, 0.20)
LEADS_PER_COMPANY = 4
FOUNDING_SHARE = 0.10

INTRODUCED_WITHIN_INDUSTRY = 0.85
INTRODUCED_BY_POPULARITY = 0.50

CAMPAIGN_EVERY_DAYS = 15
CAMPAIGN_LASTS_DAYS = 30
EARLIER_CAMPAIGN_SHARE = 0.35
OPENED_BY_INDUSTRY = np.array([0.48, 0.36, 0.30, 0.42, 0.33, 0.52, 0.40, 0.26])
CLICKED_BY_SOURCE = np.array([0.25, 0.40, 0.30, 0.12])
REPLIED = 0.12
DEAL_PER_REPLY = 0.35
WON_BY_INDUSTRY = np.array([0.45, 0.30, 0.35, 0.40, 0.25, 0.50, 0.30, 0.20])

LEADS_PER_WORKSPACE = 5
VARIANTS = ("control", "treatment")
CONVERTED_BY_VARIANT = np.array([0.20, 0.26])
CONVERTS_WITHIN = 7 * DAY
# What a conversion is worth to the experiment: minutes saved, by variant; exponential.
SAVED_BY_VARIANT = np.array([40.0, 55.0])
HOT_AGENT_SHARE = 0.40
EXECUTION_FAILED = 0.04
STARTED_EXECUTION_EVENTS = 0.15

PACK_CREDITS = (1_000, 5_000, 20_000)
PACK_CENTS = (4_900, 19_900, 69_900)
PACK_SHARES = (0.60, 0.30, 0.10)
ORDER_CANCELLED = 0.06
ORDER_REFUNDED = 0.03

# The workspace that asks for campaigns, the pack it buys a week before (so that it has the budget), and the days.
REQUESTING_WORKSPACE = 0
REQUEST_PACK, REQUEST_PACKS = 2, 3
REQUEST_ORDER_DAY, REQUEST_DAY = 337, 344
REQUESTS = 2


class World:
    """One simulated year, generated day by day.

    Leads, workspaces and agents are numbered by when they came into being: those that exist at some moment are the
    first so many. Days must be asked for in order, once each.
    """

    def __init__(self, events: int, seed: int) -> None:
        """Populate the world.

        Args:
            events: how many events the year will have; sizes everything else.
            seed: the same number gives the same world.
        """
        self.random = np.random.default_rng(seed)
        weekdays = (np.arange(DAYS) + FIRST_DAY.weekday()) % 7
        weights = np.array(WEEK)[weekdays] * np.linspace(1, GROWTH, DAYS)
        self.activity: Numbers = weights / weights.sum()
        self.size = events
        self._populate_leads()
        self._populate_workspaces()
        streams = len(self.lead_created) + 2 * len(self.workspace_created) + len(self.agent_created) + ORDERS * events
        streams += len(self.user_created) + everyday.SESSIONS * events
        self.hot_agents = max(1, int(streams / 1_000))
        self._popular: list[Integers] = [np.empty(0, np.int64) for _ in INDUSTRIES]
        self._counts: Counter[str] = Counter()

    def _populate_leads(self) -> None:
        leads = max(1, int(self.size * LEADS))
        founding = int(np.ceil(leads * FOUNDING_SHARE))
        days = self.random.choice(DAYS, leads - founding, p=self.activity)
        self.lead_created: Integers = np.sort(
            np.concatenate([START + self.random.integers(0, HOUR, founding), self.moments(days)])
        )
        companies = max(1, leads // LEADS_PER_COMPANY)
        self.company_industry: Integers = self.random.choice(len(INDUSTRIES), companies, p=INDUSTRY_SHARES)
        self.company_size: Integers = 1 + self.random.lognormal(4, 1.2, companies).astype(np.int64)
        self.lead_company: Integers = self.random.integers(0, companies, leads)
        self.lead_industry: Integers = self.company_industry[self.lead_company]
        # A company becomes known with its first lead.
        self.company_leads: Integers = np.unique(self.lead_company, return_index=True)[1]
        self.lead_source: Integers = self.random.choice(len(LEAD_SOURCES), leads, p=LEAD_SOURCE_SHARES)
        self._leads_of_industry = [np.flatnonzero(self.lead_industry == i) for i in range(len(INDUSTRIES))]

    def _populate_workspaces(self) -> None:
        leads = np.arange(0, len(self.lead_created), LEADS_PER_WORKSPACE)
        founding = self.lead_created[leads] < START + HOUR
        delays = np.where(founding, self.random.integers(0, HOUR, len(leads)), self.delays(5 * DAY, len(leads)))
        created = self.lead_created[leads] + delays
        order = np.argsort(created, kind="stable")
        # Every workspace has the time to convert within the year.
        order = order[created[order] < END - CONVERTS_WITHIN - HOUR]
        self.workspace_lead: Integers = leads[order]
        self.workspace_created: Integers = created[order]
        self.workspace_variant: Integers = self.random.integers(0, len(VARIANTS), len(order))
        self.agent_workspace: Integers = np.repeat(np.arange(len(order)), 1 + np.arange(len(order)) % 3)
        self.agent_created: Integers = self.workspace_created[self.agent_workspace]
        self.user_workspace: Integers = np.repeat(np.arange(len(order)), 2 + np.arange(len(order)) % 3)
        self.user_created: Integers = self.workspace_created[self.user_workspace]
        self.workspace_users: Integers = np.searchsorted(self.user_workspace, np.arange(len(order) + 1))
        # The last user of every fourth workspace is a bot.
        self.user_is_bot: Flags = np.zeros(len(self.user_workspace), np.bool_)
        self.user_is_bot[self.workspace_users[1:][3::4] - 1] = True

    def day(self, day: int) -> Rows:
        """Return what begins on this day (0 to 364), with all that follows from it, save executions."""
        emails = self._emails(day)
        return np.concatenate(
            [
                *self._master_data(day),
                self._introductions_made(day),
                *emails,
                *self._deals_from(emails[-1]),
                *everyday.meetings(self, emails[-1]),
                everyday.messages(self, day),
                *everyday.sessions(self, day),
                *self._orders_bought(day),
                *self._campaign_requests(day),
            ]
        )

    def executions(self, day: int, count: int) -> Rows:
        """Return so many events of executions of this day; of some that users began, the beginning is told, too."""
        started = int(count * STARTED_EXECUTION_EVENTS)
        count -= started
        at = self.moments(np.full(count, day))
        existing = np.searchsorted(self.agent_created, at, side="right")
        hot = self.random.random(count) < HOT_AGENT_SHARE
        among = np.where(hot, np.minimum(self.hot_agents, existing), existing)
        agent = self.pick(among)
        workspace = self.agent_workspace[agent]
        duration = 50 + self.random.lognormal(9, 1, count).astype(np.int64)
        number = self.numbers("execution", count)
        first, last = self.workspace_users[workspace[:started]], self.workspace_users[workspace[:started] + 1]
        user = first + self.pick(last - first)
        ended = rows_of("agent_execution_completed", at + duration, (number, agent, workspace, duration))
        ended["kind"][self.random.random(len(ended)) < EXECUTION_FAILED] = KINDS["agent_execution_failed"]
        about = number[:started], agent[:started], workspace[:started], user
        return np.concatenate([rows_of("agent_execution_started", at[:started], about), ended])

    def _master_data(self, day: int) -> list[Rows]:
        """Return what comes into being, and with each workspace its customer and its part in the experiment."""
        leads, workspaces = of_day(self.lead_created, day), of_day(self.workspace_created, day)
        created = self.workspace_created[workspaces]
        converts = self.random.random(len(workspaces)) < CONVERTED_BY_VARIANT[self.workspace_variant[workspaces]]
        exposed_at = created + 60 * SECOND
        converted_at = exposed_at + self.random.integers(HOUR, CONVERTS_WITHIN, len(workspaces))
        saved = 60 * self.random.exponential(SAVED_BY_VARIANT[self.workspace_variant[workspaces]])
        conversion = workspaces, workspaces, workspaces, saved.astype(np.int64)
        return [
            *everyday.master_data(self, day),
            self._packs(day),
            self._campaigns(day),
            rows_of("lead_created", self.lead_created[leads], (leads, leads)),
            rows_of("workspace_created", created, (workspaces, workspaces)),
            rows_of("customer_registered", created, (workspaces, workspaces)),
            rows_of("experiment_exposed", exposed_at, (workspaces, workspaces)),
            rows_of("experiment_converted", converted_at, conversion, chosen=converts),
        ]

    def _packs(self, day: int) -> Rows:
        packs = np.arange(len(PACK_CREDITS) if day == 0 else 0)
        return rows_of("product_added", np.full(len(packs), START), (packs, packs))

    def _campaigns(self, day: int) -> Rows:
        campaigns = np.full(int(day % CAMPAIGN_EVERY_DAYS == 0), day // CAMPAIGN_EVERY_DAYS)
        launched_at = np.full(len(campaigns), START + day * DAY + 5 * HOUR)
        return rows_of("campaign_launched", launched_at, (campaigns, campaigns))

    def _introductions_made(self, day: int) -> Rows:
        count = self.how_many(INTRODUCTIONS, day)
        at = self.moments(np.full(count, day))
        introducer = self.pick(np.searchsorted(self.lead_created, at, side="right"))
        stays = self.random.random(count) < INTRODUCED_WITHIN_INDUSTRY
        industry = np.where(stays, self.lead_industry[introducer], self.random.integers(0, len(INDUSTRIES), count))
        by_popularity = self.random.random(count) < INTRODUCED_BY_POPULARITY
        introduced = np.full(count, -1)
        for number, leads in enumerate(self._leads_of_industry):
            here = np.flatnonzero(industry == number)
            existing = np.searchsorted(self.lead_created[leads], at[here], side="right")
            known = existing > 0
            introduced[here[known]] = leads[self.pick(existing[known])]
            popular = self._popular[number]
            if len(popular):
                again = here[by_popularity[here]]
                introduced[again] = self.random.choice(popular, len(again))
            self._popular[number] = np.concatenate([popular, introduced[here[known]]])
        valid = (introduced >= 0) & (introduced != introducer)
        number = self.numbers("introduction", count)
        return rows_of("introduction_made", at, (number, introducer, introduced), chosen=valid)

    def _emails(self, day: int) -> list[Rows]:
        """Return e-mails sent on this day and what their readers do: sent, opened, clicked, replied."""
        count = self.how_many(EMAILS, day)
        at = self.moments(np.full(count, day))
        lead = self.pick(np.searchsorted(self.lead_created, at, side="right"))
        newest = day // CAMPAIGN_EVERY_DAYS
        campaign = np.maximum(newest - (self.random.random(count) < EARLIER_CAMPAIGN_SHARE), 0)
        message = self.numbers("message", count), lead, campaign
        opened = self.random.random(count) < OPENED_BY_INDUSTRY[self.lead_industry[lead]]
        clicked = opened & (self.random.random(count) < CLICKED_BY_SOURCE[self.lead_source[lead]])
        replied = opened & (self.random.random(count) < REPLIED)
        opened_at = at + self.delays(8 * HOUR, count)
        clicked_at = opened_at + self.delays(60 * SECOND, count)
        replied_at = opened_at + self.delays(6 * HOUR, count)
        return [
            rows_of("email_sent", at, message),
            rows_of("email_opened", opened_at, message, chosen=opened),
            rows_of("email_clicked", clicked_at, message, chosen=clicked),
            rows_of("email_replied", replied_at, message, chosen=replied),
        ]

    def _deals_from(self, replies: Rows) -> list[Rows]:
        """Return the deals that come of these replies: opened, won, lost."""
        replies = replies[self.random.random(len(replies)) < DEAL_PER_REPLY]
        count = len(replies)
        lead, at = replies["subject"], replies["at"] + self.delays(DAY, count)
        size = self.company_size[self.lead_company[lead]]
        cents = (self.random.lognormal(5, 0.5, count) * np.sqrt(size) * 100).astype(np.int64)
        won_cents = (cents * self.random.uniform(0.8, 1, count)).astype(np.int64)
        deal = self.numbers("deal", count), lead
        representative = self.random.integers(0, everyday.REPRESENTATIVES, count)
        won = self.random.random(count) < WON_BY_INDUSTRY[self.lead_industry[lead]]
        closed_at = at + HOUR + (self.random.lognormal(2.8, 0.6, count) * DAY).astype(np.int64)
        return [
            rows_of("deal_opened", at, (*deal, representative, cents)),
            *everyday.stages(self, deal, at, closed_at, won),
            rows_of("deal_won", closed_at, (*deal, representative, won_cents), chosen=won),
            rows_of("deal_lost", closed_at, (*deal, representative), chosen=~won),
        ]

    def _orders_bought(self, day: int) -> list[Rows]:
        count = self.how_many(ORDERS, day)
        at = self.moments(np.full(count, day))
        workspace = self.pick(np.searchsorted(self.workspace_created, at, side="right"))
        pack = self.random.choice(len(PACK_CREDITS), count, p=PACK_SHARES)
        quantity = self.random.integers(1, 4, count)
        cancelled = self.random.random(count) < ORDER_CANCELLED
        refunded = ~cancelled & (self.random.random(count) < ORDER_REFUNDED)
        return self._orders(at, (workspace, pack, quantity), cancelled, refunded)

    def _orders(self, at: Integers, bought: Sequence[Integers], cancelled: Flags, refunded: Flags) -> list[Rows]:
        """Return what happens to these orders: placed, then paid and delivered with their credits, or cancelled.

        Args:
            at: when they are placed.
            bought: by which workspaces, which packs, how many.
            cancelled: which of them are never paid.
            refunded: which of them are paid back.
        """
        count = len(at)
        order = self.numbers("order", count), *bought
        paid_at = at + self.delays(120 * SECOND, count)
        delivered_at = paid_at + self.delays(20 * SECOND, count)
        refunded_at = delivered_at + self.delays(10 * DAY, count)
        return [
            rows_of("order_placed", at, order),
            rows_of("order_paid", paid_at, order, chosen=~cancelled),
            rows_of("order_delivered", delivered_at, order, chosen=~cancelled),
            rows_of("credits_granted", delivered_at, order, chosen=~cancelled),
            rows_of("order_cancelled", at + 3 * DAY, order, chosen=cancelled),
            rows_of("stock_reserved", at, order),
            rows_of("stock_released", at + 3 * DAY, order, chosen=cancelled),
            rows_of("order_refunded", refunded_at, order, chosen=refunded),
        ]

    def _campaign_requests(self, day: int) -> list[Rows]:
        """Return the requests for campaigns on their day, and a week before the order that pays for them."""
        morning = START + day * DAY + 9 * HOUR
        if day == REQUEST_ORDER_DAY:
            bought = np.array([REQUESTING_WORKSPACE]), np.array([REQUEST_PACK]), np.array([REQUEST_PACKS])
            never = np.array([False])
            return self._orders(np.array([morning]), bought, never, never)
        if day == REQUEST_DAY:
            requests = np.arange(REQUESTS)
            workspace = np.full(REQUESTS, REQUESTING_WORKSPACE)
            return [rows_of("campaign_launch_requested", morning + requests * HOUR, (requests, workspace))]
        return []

    def how_many(self, per_event: float, day: int) -> int:
        """Draw how often something happens on a day that happens so often per event of the whole year."""
        share_of_day: float = self.activity[day]
        return self.random.poisson(per_event * self.size * share_of_day)

    def moments(self, days: Integers) -> Integers:
        """Draw a moment of each day: work is done between 06:00 and 22:00, most of it around 14:00."""
        hours = self.random.triangular(6, 14, 22, len(days))
        return START + days * DAY + (hours * HOUR).astype(np.int64)

    def delays(self, mean: int, count: int) -> Integers:
        """Draw how long things take, in milliseconds; at least a second."""
        return SECOND + self.random.exponential(mean, count).astype(np.int64)

    def pick(self, among: Integers) -> Integers:
        """Draw one of the first so many, each as likely as the other."""
        return (self.random.random(len(among)) * among).astype(np.int64)

    def numbers(self, of: str, count: int) -> Integers:
        """Return the next so many numbers of this kind."""
        first = self._counts[of]
        self._counts[of] += count
        return np.arange(first, first + count)
