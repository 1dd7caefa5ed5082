"""The text of simulated events: ids, streams and payloads of each event type.

Defines `events_of`, which turns rows of numbers into events. Add a function here for each event type that `world`
makes; those of `everyday` are in `everyday_payloads`. Each says "simulated" where a person would read it. Written as
JSON text at once: this is where the time goes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from analytics_pipelines.event_log.event import NewEvent
from analytics_pipelines.ingestion.simulator.everyday_payloads import CURRENCY, EVERYDAY, hundredths, product_id_of
from analytics_pipelines.ingestion.simulator.rows import DAYS, EVENT_TYPES, FIRST_DAY
from analytics_pipelines.ingestion.simulator.world import (
    CAMPAIGN_EVERY_DAYS,
    CAMPAIGN_LASTS_DAYS,
    INDUSTRIES,
    LEAD_SOURCES,
    PACK_CENTS,
    PACK_CREDITS,
    VARIANTS,
)

if TYPE_CHECKING:
    from analytics_pipelines.ingestion.simulator.everyday_payloads import Describe, Text
    from analytics_pipelines.ingestion.simulator.rows import Rows
    from analytics_pipelines.ingestion.simulator.world import World


SOURCE = "simulator"
EXPERIMENT, METRIC = "onboarding-checklist", "minutes saved"
PLANS = ("free", "team", "business")
REASONS_LOST = ("price", "timing", "competitor", "no decision")
ERRORS = ("timeout", "tool failed", "no answer", "refused")
# The industries that the requested campaigns address: the first has leads, the second has none.
REQUESTED_INDUSTRIES = (INDUSTRIES[0], "Shipbuilding")
REQUESTED_BUDGET_CREDITS = 5_000
CAMPAIGNS = (DAYS - 1) // CAMPAIGN_EVERY_DAYS + 1


def events_of(world: World, rows: Rows) -> list[NewEvent]:
    """Return the rows as events, in their order."""
    events: list[NewEvent] = []
    columns: list[tuple[int, ...]] = rows.tolist()
    for kind, at, number, subject, other, value, _arrival, _repeats in columns:
        event_id, stream_id, data = _DESCRIBE[kind](world, number, subject, other, value)
        occurred_at = datetime.fromtimestamp(at / 1000, UTC)
        events.append(NewEvent(SOURCE, event_id, stream_id, EVENT_TYPES[kind], occurred_at, data, 1, kind))
    return events


def _product_added(_world: World, pack: int, *_: int) -> Text:
    product_id = product_id_of(pack)
    return (
        f"product-{product_id}",
        f"product-{product_id}",
        (
            f'{{"product_id":"{product_id}","name":"{PACK_CREDITS[pack]} credits (simulated)","department":"Credits",'
            f'"category":"Credit packs","list_price":{hundredths(PACK_CENTS[pack])}}}'
        ),
    )


def _campaign_launched(_world: World, campaign: int, *_: int) -> Text:
    starts_on = FIRST_DAY + timedelta(days=campaign * CAMPAIGN_EVERY_DAYS)
    ends_on = starts_on + timedelta(days=CAMPAIGN_LASTS_DAYS - 1)
    return (
        f"campaign-{campaign}",
        f"campaign-{campaign}",
        (
            f'{{"campaign_id":"{campaign}","name":"Simulated campaign {campaign}","channel":"email",'
            f'"starts_on":"{starts_on}","ends_on":"{ends_on}"}}'
        ),
    )


def _campaign_launch_requested(_world: World, request: int, workspace: int, *_: int) -> Text:
    campaign, industry = CAMPAIGNS + request, REQUESTED_INDUSTRIES[request]
    return (
        f"campaign-{campaign}-requested",
        f"campaign-{campaign}",
        (
            f'{{"campaign_id":"{campaign}","name":"Simulated campaign {campaign}: {industry}","channel":"email",'
            f'"workspace_id":"{workspace}","budget_credits":{REQUESTED_BUDGET_CREDITS},"audience_industry":"{industry}"}}'
        ),
    )


def _lead_created(world: World, lead: int, *_: int) -> Text:
    company = world.lead_company[lead]
    return (
        f"lead-{lead}",
        f"lead-{lead}",
        (
            f'{{"lead_id":"{lead}","company_id":"{company}","company":"Simulated company {company}",'
            f'"industry":"{INDUSTRIES[world.company_industry[company]]}","company_size":{world.company_size[company]},'
            f'"lead_source":"{LEAD_SOURCES[world.lead_source[lead]]}","email_domain":"company-{company}.example"}}'
        ),
    )


def _introduction_made(_world: World, number: int, introducer: int, introduced: int, _value: int) -> Text:
    return (
        f"introduction-{number}",
        f"lead-{introducer}",
        f'{{"introducer_id":"{introducer}","introduced_id":"{introduced}"}}',
    )


def _email(verb: str) -> Describe:
    def describe(_world: World, message: int, lead: int, campaign: int, _value: int) -> Text:
        return (
            f"email-{message}-{verb}",
            f"lead-{lead}",
            f'{{"message_id":"{message}","campaign_id":"{campaign}","lead_id":"{lead}"}}',
        )

    return describe


def _deal_opened(_world: World, deal: int, lead: int, representative: int, cents: int) -> Text:
    return (
        f"deal-{deal}-opened",
        f"deal-{deal}",
        (
            f'{{"deal_id":"{deal}","lead_id":"{lead}","sales_representative_id":"{representative}",'
            f'"amount":{hundredths(cents)},"currency":"{CURRENCY}"}}'
        ),
    )


def _deal_won(_world: World, deal: int, lead: int, representative: int, cents: int) -> Text:
    return (
        f"deal-{deal}-won",
        f"deal-{deal}",
        (
            f'{{"deal_id":"{deal}","lead_id":"{lead}","amount":{hundredths(cents)},"currency":"{CURRENCY}",'
            f'"sales_representative_id":"{representative}"}}'
        ),
    )


def _deal_lost(_world: World, deal: int, lead: int, representative: int, *_: int) -> Text:
    reason = REASONS_LOST[deal % len(REASONS_LOST)]
    return (
        f"deal-{deal}-lost",
        f"deal-{deal}",
        f'{{"deal_id":"{deal}","lead_id":"{lead}","reason":"{reason}","sales_representative_id":"{representative}"}}',
    )


def _workspace_created(world: World, workspace: int, *_: int) -> Text:
    plan = PLANS[workspace % len(PLANS)]
    return (
        f"workspace-{workspace}",
        f"workspace-{workspace}",
        f'{{"workspace_id":"{workspace}","lead_id":"{world.workspace_lead[workspace]}","plan":"{plan}"}}',
    )


def _customer_registered(_world: World, workspace: int, *_: int) -> Text:
    return f"customer-{workspace}", f"customer-{workspace}", f'{{"customer_id":"{workspace}"}}'


def _experiment_exposed(world: World, workspace: int, *_: int) -> Text:
    variant: int = world.workspace_variant[workspace]
    return (
        f"exposure-{workspace}",
        f"workspace-{workspace}",
        f'{{"experiment_id":"{EXPERIMENT}","subject_id":"{workspace}","variant":"{VARIANTS[variant]}"}}',
    )


def _experiment_converted(_world: World, workspace: int, _workspace: int, _other: int, seconds: int) -> Text:
    return (
        f"conversion-{workspace}",
        f"workspace-{workspace}",
        (
            f'{{"experiment_id":"{EXPERIMENT}","subject_id":"{workspace}","metric":"{METRIC}",'
            f'"value":{hundredths(seconds * 100 // 60)}}}'
        ),
    )


def _order_placed(_world: World, order: int, workspace: int, pack: int, quantity: int) -> Text:
    return (
        f"order-{order}-placed",
        f"order-{order}",
        (
            f'{{"order_id":"{order}","customer_id":"{workspace}","channel":"online","currency":"{CURRENCY}","lines":'
            f'[{{"product_id":"{product_id_of(pack)}","quantity":{quantity},"revenue":{_price(pack, quantity)}}}]}}'
        ),
    )


def _order_paid(_world: World, order: int, _workspace: int, pack: int, quantity: int) -> Text:
    amount = _price(pack, quantity)
    return f"order-{order}-paid", f"order-{order}", f'{{"order_id":"{order}","amount":{amount}}}'


def _order_delivered(_world: World, order: int, *_: int) -> Text:
    return f"order-{order}-delivered", f"order-{order}", f'{{"order_id":"{order}"}}'


def _order_cancelled(_world: World, order: int, *_: int) -> Text:
    return f"order-{order}-cancelled", f"order-{order}", f'{{"order_id":"{order}","reason":"not paid"}}'


def _order_refunded(_world: World, order: int, _workspace: int, pack: int, quantity: int) -> Text:
    amount = _price(pack, quantity)
    return f"order-{order}-refunded", f"order-{order}", f'{{"order_id":"{order}","amount":{amount}}}'


def _price(pack: int, quantity: int) -> str:
    return hundredths(PACK_CENTS[pack] * quantity)


def _credits_granted(_world: World, order: int, workspace: int, pack: int, quantity: int) -> Text:
    return (
        f"order-{order}-credits",
        f"workspace-{workspace}",
        f'{{"workspace_id":"{workspace}","credits":{PACK_CREDITS[pack] * quantity},"order_id":"{order}"}}',
    )


def _agent_execution_completed(_world: World, execution: int, agent: int, workspace: int, milliseconds: int) -> Text:
    return (
        f"execution-{execution}",
        f"agent-{agent}",
        (
            f'{{"execution_id":"{execution}","agent_id":"{agent}","workspace_id":"{workspace}",'
            f'"duration_ms":{milliseconds},"credits":{_credits(milliseconds)}}}'
        ),
    )


def _agent_execution_failed(_world: World, execution: int, agent: int, workspace: int, milliseconds: int) -> Text:
    error = ERRORS[execution % len(ERRORS)]
    return (
        f"execution-{execution}",
        f"agent-{agent}",
        (
            f'{{"execution_id":"{execution}","agent_id":"{agent}","workspace_id":"{workspace}",'
            f'"duration_ms":{milliseconds},"credits":{_credits(milliseconds)},"error":"{error}"}}'
        ),
    )


def _credits(milliseconds: int) -> str:
    """Return what an execution costs: a credit for ten seconds, to the hundredth."""
    return hundredths(milliseconds // 100)


_BY_TYPE: dict[str, Describe] = {
    **EVERYDAY,
    "product_added": _product_added,
    "campaign_launched": _campaign_launched,
    "lead_created": _lead_created,
    "workspace_created": _workspace_created,
    "customer_registered": _customer_registered,
    "experiment_exposed": _experiment_exposed,
    "experiment_converted": _experiment_converted,
    "introduction_made": _introduction_made,
    "email_sent": _email("sent"),
    "email_opened": _email("opened"),
    "email_clicked": _email("clicked"),
    "email_replied": _email("replied"),
    "deal_opened": _deal_opened,
    "deal_won": _deal_won,
    "deal_lost": _deal_lost,
    "order_placed": _order_placed,
    "order_paid": _order_paid,
    "order_delivered": _order_delivered,
    "credits_granted": _credits_granted,
    "order_cancelled": _order_cancelled,
    "order_refunded": _order_refunded,
    "agent_execution_completed": _agent_execution_completed,
    "agent_execution_failed": _agent_execution_failed,
    "campaign_launch_requested": _campaign_launch_requested,
}
_DESCRIBE = tuple(_BY_TYPE[event_type] for event_type in EVENT_TYPES)
