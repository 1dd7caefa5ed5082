"""The text of the simulated events that `everyday` makes: ids, streams and payloads of each event type.

Defines `EVERYDAY`, by event type, and what all payloads share. Add a function here for each event type of `everyday`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from analytics_pipelines.ingestion.simulator.everyday import COST_SHARES, STAGES, stock_received
from analytics_pipelines.ingestion.simulator.world import INDUSTRIES, PACK_CENTS, PACK_CREDITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from analytics_pipelines.ingestion.simulator.world import World

    Text: TypeAlias = tuple[str, str, str]
    """The event id, the stream id and the payload."""
    Describe: TypeAlias = Callable[[World, int, int, int, int], Text]
    """Says it of a number, a subject, the other party and a value, as `rows.EVENT` has them."""

CURRENCY = "USD"
REGIONS = ("north", "east", "south", "west")
MODELS = ("small", "large")
CHANNELS = ("email", "chat")
PROBABILITIES = ("0.3", "0.5", "0.7")


def _sales_representative_registered(_world: World, representative: int, *_: int) -> Text:
    name = f"sales_representative-{representative}"
    region, rate = REGIONS[representative % len(REGIONS)], hundredths(5 + representative % 6)
    return (
        name,
        name,
        f'{{"sales_representative_id":"{representative}","region":"{region}","commission_rate":{rate}}}',
    )


def _price_changed(_world: World, pack: int, *_: int) -> Text:
    product_id, price = product_id_of(pack), hundredths(PACK_CENTS[pack])
    return (
        f"price-{product_id}",
        f"product-{product_id}",
        f'{{"product_id":"{product_id}","price":{price},"currency":"{CURRENCY}"}}',
    )


def _cost_price_changed(_world: World, pack: int, _pack: int, time: int, *_: int) -> Text:
    product_id, cost = product_id_of(pack), hundredths(round(PACK_CENTS[pack] * COST_SHARES[time]))
    return (
        f"cost-{product_id}-{time}",
        f"product-{product_id}",
        f'{{"product_id":"{product_id}","cost_price":{cost},"currency":"{CURRENCY}"}}',
    )


def _reorder_point_set(world: World, pack: int, *_: int) -> Text:
    product_id = product_id_of(pack)
    return (
        f"reorder-{product_id}",
        f"product-{product_id}",
        f'{{"product_id":"{product_id}","quantity":{stock_received(world.size)[pack] // 4}}}',
    )


def _stock_received(_world: World, delivery: int, pack: int, _pack: int, quantity: int) -> Text:
    product_id = product_id_of(pack)
    return (
        f"stock-{product_id}-{delivery}",
        f"product-{product_id}",
        f'{{"product_id":"{product_id}","quantity":{quantity}}}',
    )


def _stock_of_order(verb: str) -> Describe:
    def describe(_world: World, order: int, _workspace: int, pack: int, quantity: int) -> Text:
        product_id = product_id_of(pack)
        return (
            f"order-{order}-stock-{verb}",
            f"product-{product_id}",
            f'{{"product_id":"{product_id}","order_id":"{order}","quantity":{quantity}}}',
        )

    return describe


def _company_created(world: World, lead: int, *_: int) -> Text:
    company = world.lead_company[lead]
    return (
        f"company-{company}",
        f"company-{company}",
        (
            f'{{"company_id":"{company}","company":"Simulated company {company}",'
            f'"industry":"{INDUSTRIES[world.company_industry[company]]}","company_size":{world.company_size[company]},'
            f'"domain":"company-{company}.example","region":"{REGIONS[company % len(REGIONS)]}"}}'
        ),
    )


def _manager_assigned(_world: World, lead: int, _lead: int, manager: int, *_: int) -> Text:
    return f"manager-{lead}", f"lead-{lead}", f'{{"lead_id":"{lead}","manager_id":"{manager}"}}'


def _message_exchanged(_world: World, message: int, sender: int, recipient: int, *_: int) -> Text:
    return (
        f"exchange-{message}",
        f"lead-{sender}",
        (
            f'{{"message_id":"exchange-{message}","sender_id":"{sender}","recipient_id":"{recipient}",'
            f'"channel":"{CHANNELS[message % len(CHANNELS)]}"}}'
        ),
    )


def _meeting_scheduled(_world: World, meeting: int, lead: int, representative: int, *_: int) -> Text:
    return (
        f"meeting-{meeting}-scheduled",
        f"meeting-{meeting}",
        f'{{"meeting_id":"{meeting}","lead_ids":["{lead}"],"sales_representative_id":"{representative}"}}',
    )


def _meeting_held(_world: World, meeting: int, lead: int, representative: int, milliseconds: int) -> Text:
    return (
        f"meeting-{meeting}-held",
        f"meeting-{meeting}",
        (
            f'{{"meeting_id":"{meeting}","lead_ids":["{lead}"],"sales_representative_id":"{representative}",'
            f'"duration_ms":{milliseconds}}}'
        ),
    )


def _deal_stage_changed(_world: World, deal: int, lead: int, stage: int, *_: int) -> Text:
    previous = f',"previous_stage":"{STAGES[stage - 1]}"' if stage else ""
    return (
        f"deal-{deal}-{STAGES[stage]}",
        f"deal-{deal}",
        (
            f'{{"deal_id":"{deal}","lead_id":"{lead}","stage":"{STAGES[stage]}"{previous},'
            f'"probability":{PROBABILITIES[stage]}}}'
        ),
    )


def _user_registered(world: World, user: int, *_: int) -> Text:
    workspace = world.user_workspace[user]
    role = "owner" if user == world.workspace_users[workspace] else "bot" if world.user_is_bot[user] else "member"
    return (
        f"user-{user}",
        f"user-{user}",
        f'{{"user_id":"{user}","workspace_id":"{workspace}","role":"{role}"}}',
    )


def _session_started(_world: World, session: int, user: int, workspace: int, *_: int) -> Text:
    return (
        f"session-{session}-started",
        f"session-{session}",
        f'{{"session_id":"{session}","user_id":"{user}","workspace_id":"{workspace}"}}',
    )


def _session_ended(_world: World, session: int, user: int, workspace: int, milliseconds: int) -> Text:
    return (
        f"session-{session}-ended",
        f"session-{session}",
        (f'{{"session_id":"{session}","user_id":"{user}","workspace_id":"{workspace}","duration_ms":{milliseconds}}}'),
    )


def _agent_created(world: World, agent: int, *_: int) -> Text:
    return (
        f"agent-{agent}",
        f"agent-{agent}",
        (
            f'{{"agent_id":"{agent}","workspace_id":"{world.agent_workspace[agent]}",'
            f'"name":"Simulated agent {agent}","model":"{MODELS[agent % len(MODELS)]}"}}'
        ),
    )


def _agent_execution_started(_world: World, execution: int, agent: int, workspace: int, user: int) -> Text:
    return (
        f"execution-{execution}-started",
        f"agent-{agent}",
        (f'{{"execution_id":"{execution}","agent_id":"{agent}","workspace_id":"{workspace}","user_id":"{user}"}}'),
    )


def hundredths(value: int) -> str:
    """Return a decimal text: cents as dollars."""
    return f"{value // 100}.{value % 100:02d}"


def product_id_of(pack: int) -> str:
    """Return the product that a pack of credits is."""
    return f"credits-{PACK_CREDITS[pack]}"


EVERYDAY: dict[str, Describe] = {
    "sales_representative_registered": _sales_representative_registered,
    "price_changed": _price_changed,
    "cost_price_changed": _cost_price_changed,
    "reorder_point_set": _reorder_point_set,
    "stock_received": _stock_received,
    "company_created": _company_created,
    "manager_assigned": _manager_assigned,
    "user_registered": _user_registered,
    "agent_created": _agent_created,
    "message_exchanged": _message_exchanged,
    "meeting_scheduled": _meeting_scheduled,
    "meeting_held": _meeting_held,
    "deal_stage_changed": _deal_stage_changed,
    "stock_reserved": _stock_of_order("reserved"),
    "stock_released": _stock_of_order("released"),
    "session_started": _session_started,
    "agent_execution_started": _agent_execution_started,
    "session_ended": _session_ended,
}
"""What is said, by event type."""
