"""Rows of the read models, worked out by hand from a few events, and from the planted truth of the simulator."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate, truth
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

EVENTS = 20_000
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
DAY = 24 * 60
Happening = tuple[int, str, dict[str, Any]]
Row = dict[str, Any]


def advance(pool: ConnectionPool) -> None:
    """Bring all models up to date."""
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), up_to)


def at(minute: int) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minute)


def story(*happenings: Happening) -> list[NewEvent]:
    """Make events of (minute, type, data), each in the stream of its first field."""
    return [
        NewEvent("test", str(number), f"stream-{next(iter(data.values()))}", event_type, at(minute), data)
        for number, (minute, event_type, data) in enumerate(happenings)
    ]


LEAD = {"lead_id": "l"}
MAIL = {"lead_id": "l", "campaign_id": "c", "message_id": "m"}
CAMPAIGN = {"campaign_id": "c"}
PRODUCT = {"product_id": "p"}
ORDER = {"order_id": "o"}
DEAL = {"deal_id": "d", "lead_id": "l"}
WORKSPACE = {"workspace_id": "w"}
DEAL = {"deal_id": "d", "lead_id": "l"}
AGENT = {"agent_id": "a", "workspace_id": "w"}
REPRESENTATIVE = {"sales_representative_id": "r"}
SAGA = {"saga_id": "s", "saga": "launch"}
EXPERIMENT = {"experiment_id": "e", "subject_id": "w"}
LINE = {"product_id": "p", "quantity": 2, "revenue": Decimal("9.90")}
PLACED = {**ORDER, "customer_id": "u", "channel": "online", "currency": "EUR", "lines": [LINE]}

HAND_CHECKED: dict[str, tuple[list[NewEvent], tuple[str, ...], Row]] = {
    "lead_analytics": (
        story(
            (0, "lead_created", {**LEAD, "company_id": "x", "company": "X", "industry": "retail", "company_size": 9,
                                 "lead_source": "web", "email_domain": "x.example"}),
            (1, "lead_qualified", {**LEAD, "qualification": "marketing"}),
            (2, "lead_scored", {**LEAD, "score": Decimal("0.25"), "scored_by": "ada"}),
            (3, "lead_scored", {**LEAD, "score": Decimal("0.75"), "scored_by": "model-1"}),
            (4, "lead_assigned", {**LEAD, "sales_representative_id": "r"}),
            (5, "email_sent", MAIL), (6, "email_sent", {**MAIL, "message_id": "n"}),
            (7, "email_opened", MAIL), (8, "email_opened", MAIL), (9, "email_replied", MAIL),
            (10, "email_bounced", {**MAIL, "bounce": "soft"}), (11, "email_bounced", {**MAIL, "bounce": "hard"}),
            (12, "lead_moved_company", {**LEAD, "company_id": "y"}),
            (13, "introduction_made", {"introducer_id": "l", "introduced_id": "k"}),
            (14, "email_unsubscribed", LEAD), (15, "email_marked_as_spam", MAIL),
            (16, "deal_lost", {**DEAL, "reason": "price"}),
        ),
        ("l",),
        {
            "company_id": "y", "industry": "retail", "company_size": 9, "created_at": at(0),
            "qualification": "marketing", "qualified_at": at(1), "disqualified_at": None, "score": Decimal("0.75"),
            "scored_by": "model-1", "sales_representative_id": "r", "emails_sent": 2, "emails_opened": 2,
            "emails_clicked": 0, "emails_replied": 1, "replies_per_email": Decimal("0.5"), "emails_bounced": 2,
            "hard_bounces": 1, "spam_complaints": 1, "unsubscribed_at": at(14), "introductions_made": 1,
            "last_contact_at": at(9), "last_event_at": at(16),
        },
    ),
    "campaign_performance": (
        story(
            (0, "campaign_launch_requested", {**CAMPAIGN, "name": "Spring", "channel": "email", "workspace_id": "w",
                                              "budget_credits": 50}),
            (1, "campaign_audience_selected", {**CAMPAIGN, "leads": 3}),
            (2, "credits_reserved", {"workspace_id": "w", "credits": 50, "campaign_id": "c"}),
            (3, "campaign_launched", {**CAMPAIGN, "name": "Spring", "channel": "email", "starts_on": "2017-06-01"}),
            (4, "email_sent", MAIL), (5, "email_sent", {**MAIL, "message_id": "n", "lead_id": "k"}),
            (6, "email_opened", MAIL), (7, "email_clicked", MAIL), (8, "email_bounced", {**MAIL, "bounce": "hard"}),
            (9, "campaign_paused", CAMPAIGN), (10, "email_unsubscribed", {**LEAD, "campaign_id": "c"}),
            (DAY, "campaign_resumed", CAMPAIGN), (DAY + 1, "campaign_completed", CAMPAIGN),
            (DAY + 2, "credits_released", {"workspace_id": "w", "credits": Decimal("12.5"), "campaign_id": "c"}),
            (DAY + 3, "coupon_redeemed", {"coupon_id": "k", "campaign_id": "c", "customer_id": "u"}),
            (DAY + 4, "coupon_redeemed", {"coupon_id": "k", "campaign_id": "c", "customer_id": "v"}),
        ),
        ("c",),
        {
            "name": "Spring", "status": "completed", "requested_at": at(0), "launched_at": at(3),
            "completed_at": at(DAY + 1), "ends_on": None, "audience": 3, "budget_credits": 50, "credits_reserved": 50,
            "credits_released": Decimal("12.5"), "emails_sent": 2, "emails_opened": 1, "emails_clicked": 1,
            "emails_replied": 0, "opens_per_email": Decimal("0.5"), "replies_per_email": 0, "emails_bounced": 1,
            "hard_bounces": 1, "bounces_per_email": Decimal("0.5"), "unsubscriptions": 1, "spam_complaints": 0,
            "coupons_redeemed": 2, "coupons_in_use": 1, "last_event_at": at(DAY + 4),
        },
    ),
    "engagement_funnel": (
        story(
            (0, "email_sent", MAIL), (30, "email_sent", {**MAIL, "message_id": "n"}),
            (10, "email_opened", MAIL), (12, "email_opened", MAIL), (15, "email_clicked", MAIL),
            (40, "email_bounced", {**MAIL, "bounce": "soft"}), (41, "email_bounced", {**MAIL, "bounce": "soft"}),
        ),
        ("c", "l"),
        {
            "first_message_id": "m", "sent_at": at(0), "opened_at": at(10), "clicked_at": at(15), "replied_at": None,
            "step": "clicked", "dropped_off_after": "clicked", "lost_by": ["soft"], "seconds_to_open": 600,
            "seconds_to_click": 300, "seconds_to_reply": None, "emails_sent": 2, "last_event_at": at(41),
        },
    ),
    "order_state": (
        story(
            (0, "order_placed", PLACED), (5, "payment_failed", {**ORDER, "payment_id": "1", "amount": 10,
                                                                "currency": "EUR", "reason": "no cover"}),
            (10, "order_paid", {**ORDER, "amount": Decimal("9.90")}), (15, "order_confirmed", ORDER),
            (60, "order_shipped", ORDER), (DAY, "order_delivered", ORDER),
            (DAY + 1, "order_cancelled", {**ORDER, "reason": "too late"}),
            (DAY + 2, "order_line_returned", {**ORDER, "product_id": "p", "quantity": 1, "refund": 5}),
            (DAY + 3, "order_refunded", {**ORDER, "amount": Decimal("4.95")}),
        ),
        ("o",),
        {
            "status": "completed", "status_since": at(DAY), "seconds_in_pending": 600,
            "seconds_in_processing": (DAY - 10) * 60, "seconds_in_completed": 0, "seconds_in_cancelled": 0,
            "invalid_transitions": 1, "placed_at": at(0), "paid_at": at(10), "shipped_at": at(60),
            "delivered_at": at(DAY), "cancelled_at": at(DAY + 1), "refunded_at": at(DAY + 2),
            "seconds_to_payment": 600, "seconds_to_shipment": 3000, "seconds_to_delivery": (DAY - 60) * 60,
            "payments_failed": 1, "lines": 1, "quantity": 2, "revenue": Decimal("9.90"), "quantity_returned": 1,
            "paid_amount": Decimal("9.90"), "refunded_amount": Decimal("9.95"),
        },
    ),
    "customer_profile": (
        story(
            (0, "customer_registered", {"customer_id": "u", "age_band": "35-44", "region": "north"}),
            (1, "customer_updated", {"customer_id": "u", "age_band": "45-54"}),
            (2, "sales_representative_assigned", {"customer_id": "u", "sales_representative_id": "r"}),
            (3, "campaign_sent", {**CAMPAIGN, "customer_id": "u"}),
            (4, "order_placed", {**PLACED, "lines": [LINE, LINE]}),
            (5, "order_placed", {**PLACED, "order_id": "o2", "channel": "store", "store_id": "s", "currency": "USD",
                                 "lines": [{**LINE, "revenue": Decimal("0.20")}]}),
            (6, "coupon_redeemed", {"coupon_id": "k", "campaign_id": "c", "customer_id": "u"}),
        ),
        ("u",),
        {
            "registered_at": at(0), "age_band": "45-54", "region": "north", "sales_representative_id": "r",
            "campaigns_received": 1, "orders": 2, "revenue": Decimal("20.00"), "revenue_per_order": 10,
            "largest_order": Decimal("19.80"), "orders_online": 1, "currencies": ["EUR", "USD"],
            "favourite_stores": ["s"], "first_order_at": at(4), "last_order_at": at(5), "coupons_redeemed": 1,
            "coupon_campaigns": 1, "last_event_at": at(6),
        },
    ),
    "product_stock": (
        story(
            (0, "product_added", {**PRODUCT, "name": "Tea", "department": "drinks"}),
            (1, "price_changed", {**PRODUCT, "price": Decimal("4.00"), "currency": "EUR"}),
            (2, "price_changed", {**PRODUCT, "price": Decimal("5.50"), "currency": "EUR"}),
            (3, "price_changed", {**PRODUCT, "price": 5, "currency": "EUR"}),
            (4, "cost_price_changed", {**PRODUCT, "cost_price": 2, "currency": "EUR"}),
            (5, "stock_received", {**PRODUCT, "quantity": 10, "cost_price": Decimal("2.10"), "currency": "USD"}),
            (6, "stock_received", {**PRODUCT, "quantity": 1}),
            (7, "reorder_point_set", {**PRODUCT, "quantity": 9}),
            (8, "reorder_point_set", {**PRODUCT, "quantity": 99, "store_id": "s"}),
            (9, "order_placed", {**PLACED, "lines": [LINE, {**LINE, "revenue": 8}, {**LINE, "product_id": "q"}]}),
            (10, "stock_reserved", {**PRODUCT, "order_id": "o", "quantity": 4}),
            (11, "stock_released", {**PRODUCT, "order_id": "o", "quantity": 2}),  # the order was cancelled in part
            (12, "order_line_returned", {**ORDER, "product_id": "p", "quantity": Decimal("0.5"), "refund": 1}),
            (13, "stock_adjusted", {**PRODUCT, "quantity_change": -1, "reason": "count"}),
        ),
        ("p",),
        {
            "name": "Tea", "price": 5, "price_currency": "EUR", "lowest_price": 4, "highest_price": Decimal("5.5"),
            "cost_price": Decimal("2.10"), "cost_currency": "USD", "units_received": 11, "units_adjusted": -1,
            "units_reserved": 4, "units_released": 2, "units_returned": Decimal("0.5"), "level": Decimal("8.5"),
            "reorder_point": 9, "is_low": True, "order_lines": 2, "units_sold": 4, "revenue": Decimal("17.90"),
            "revenue_per_unit": Decimal("4.475"), "last_event_at": at(13),
        },
    ),
    "sales_rep_activity": (
        story(
            (0, "sales_representative_registered", {**REPRESENTATIVE, "region": "north",
                                                    "commission_rate": Decimal("0.1")}),
            (1, "commission_rate_changed", {**REPRESENTATIVE, "commission_rate": Decimal("0.2")}),
            (2, "lead_assigned", {**LEAD, **REPRESENTATIVE}),
            (3, "meeting_scheduled", {"meeting_id": "1", "lead_ids": ["l"], **REPRESENTATIVE}),
            (4, "meeting_held", {"meeting_id": "1", "lead_ids": ["l"], "duration_ms": 90_500, **REPRESENTATIVE}),
            (5, "meeting_held", {"meeting_id": "2", "lead_ids": ["l"], **REPRESENTATIVE}),
            (6, "meeting_held", {"meeting_id": "3", "lead_ids": ["l"], "sales_representative_id": None}),
            (7, "deal_opened", {"deal_id": "1", **LEAD, "amount": 100, "currency": "EUR", **REPRESENTATIVE}),
            (8, "deal_won", {"deal_id": "1", **LEAD, "amount": 90, "currency": "EUR", **REPRESENTATIVE}),
            (9, "deal_lost", {"deal_id": "2", **LEAD, "reason": "price", **REPRESENTATIVE}),
            (DAY, "order_placed", {**PLACED, **REPRESENTATIVE}),
            (DAY, "order_placed", {**PLACED, "order_id": "o2"}),
            (2 * DAY, "sales_representative_transferred", {**REPRESENTATIVE, "region": "south"}),
        ),
        ("r",),
        {
            "region": "south", "commission_rate": Decimal("0.2"), "registered_at": at(0), "leads_assigned": 1,
            "customers_assigned": 0, "meetings_scheduled": 1, "meetings_held": 2, "meeting_seconds": Decimal("90.5"),
            "deals_opened": 1, "opened_amount": 100, "deals_won": 1, "won_amount": 90, "largest_deal": 90,
            "deals_lost": 1, "win_rate": Decimal("0.5"), "orders": 1, "revenue": Decimal("9.90"), "active_days": 2,
            "last_event_at": at(2 * DAY),
        },
    ),
    "product_changes": (
        story(
            (0, "product_added", {**PRODUCT, "name": "Tea", "department": "drinks"}),
            (5, "price_changed", {**PRODUCT, "price": Decimal("4.00"), "currency": "EUR"}),
            (5, "stock_received", {**PRODUCT, "quantity": 10, "cost_price": Decimal("2.10"), "currency": "USD"}),
            (5, "stock_received", {**PRODUCT, "quantity": 10}),
            (6, "cost_price_changed", {**PRODUCT, "cost_price": 3, "currency": "EUR"}),
        ),
        ("p", "2017-06-01T12:05:00.000000Z"),
        {
            "changed_at": at(5), "name": None, "price": 4, "price_currency": "EUR", "cost_price": Decimal("2.10"),
            "cost_currency": "USD", "added_at": None,
        },
    ),
    "customer_changes": (
        story(
            (0, "customer_registered", {"customer_id": "u", "age_band": "35-44", "region": "north"}),
            (5, "customer_updated", {"customer_id": "u", "age_band": "45-54"}),
            (5, "customer_updated", {"customer_id": "u", "children": "2"}),
            (5, "sales_representative_assigned", {"customer_id": "u", "sales_representative_id": "r"}),
        ),
        ("u", "2017-06-01T12:05:00.000000Z"),
        {
            "changed_at": at(5), "age_band": "45-54", "children": "2", "region": None, "sales_representative_id": "r",
        },
    ),
    "sales_rep_changes": (
        story(
            (0, "sales_representative_registered", {**REPRESENTATIVE, "region": "north",
                                                    "commission_rate": Decimal("0.1")}),
            (5, "commission_rate_changed", {**REPRESENTATIVE, "commission_rate": Decimal("0.2")}),
            (5, "commission_rate_changed", {**REPRESENTATIVE, "commission_rate": Decimal("0.3")}),
        ),
        ("r", "2017-06-01T12:05:00.000000Z"),
        {"changed_at": at(5), "region": None, "commission_rate": Decimal("0.3")},
    ),
    "store_profile": (
        story(
            (0, "store_opened", {"store_id": "s", "name": "Old", "region": "north"}),
            (1, "store_closed", {"store_id": "s"}),
            (2, "store_opened", {"store_id": "s", "name": "New", "region": "south"}),
        ),
        ("s",),
        {
            "name": "New", "region": "south", "opened_at": at(0), "last_opened_at": at(2), "last_closed_at": at(1),
        },
    ),
    "event_days": (
        story(
            (0, "order_placed", PLACED), (1, "order_paid", {**ORDER, "amount": 1}), (DAY, "order_shipped", ORDER),
        ),
        ("2017-06-01",),
        {"events": 2},
    ),
    "workspace_summary": (
        story(
            (0, "workspace_created", {**WORKSPACE, **LEAD, "plan": "free"}),
            (1, "workspace_plan_changed", {**WORKSPACE, "plan": "team"}),
            (2, "user_registered", {"user_id": "u", **WORKSPACE}),
            (3, "session_started", {"session_id": "1", "user_id": "u", **WORKSPACE}),
            (4, "session_started", {"session_id": "2", "user_id": "u", **WORKSPACE}),
            (5, "session_ended", {"session_id": "1", "user_id": "u", **WORKSPACE, "duration_ms": 59_999}),
            (6, "session_ended", {"session_id": "2", "user_id": "u", **WORKSPACE, "duration_ms": 300_000}),
            (7, "credits_granted", {**WORKSPACE, "credits": 100, "order_id": "o"}),
            (8, "credits_used", {**WORKSPACE, "credits": 1, "purpose": "export"}),
            (9, "agent_execution_completed", {"execution_id": "1", **AGENT, "duration_ms": 10,
                                              "credits": Decimal("2.5")}),
            (10, "agent_execution_failed", {"execution_id": "2", **AGENT, "duration_ms": 10, "credits": 1,
                                            "error": "timeout"}),
            (11, "credits_reserved", {**WORKSPACE, "credits": 50, "campaign_id": "c"}),
            (12, "credits_released", {**WORKSPACE, "credits": 10, "campaign_id": "c"}),
        ),
        ("w",),
        {
            "lead_id": "l", "plan": "team", "plans": ["free", "team"], "created_at": at(0), "deleted_at": None,
            "users_invited": 0, "users_registered": 1, "sessions": 2, "active_users": 1, "session_seconds":
            Decimal("359.999"), "session_histogram": [1, 0, 1, 0, 0, 0, 0, 0, 0], "median_session_ms": 60_000,
            "executions": 2, "executions_failed": 1, "credits_granted": 100, "credits_used": Decimal("4.5"),
            "credits_left": Decimal("55.5"), "last_event_at": at(12),
        },
    ),
    "agent_performance": (
        story(
            (0, "agent_created", {**AGENT, "name": "Scout", "model": "small"}),
            *((1, "agent_execution_started", {"execution_id": user, **AGENT, "user_id": user}) for user in "uuv"),
            *(
                (number, "agent_execution_completed",
                 {"execution_id": str(number), **AGENT, "duration_ms": 150, "credits": Decimal("0.5")})
                for number in range(2, 11)
            ),
            (11, "agent_execution_failed", {"execution_id": "11", **AGENT, "duration_ms": 650,
                                            "credits": Decimal("0.5"), "error": "timeout"}),
        ),
        ("a",),
        {
            "name": "Scout", "model": "small", "workspace_id": "w", "executions_started": 3, "executions": 10,
            "executions_completed": 9, "executions_failed": 1, "success_rate": Decimal("0.9"),
            "duration_histogram": [0, 9, 0, 1, *[0] * 10], "median_ms": 200, "p90_ms": 200, "p95_ms": 1000,
            "p99_ms": 1000,
            "shortest_ms": 150, "longest_ms": 650, "duration_ms": 2000, "average_ms": 200, "credits": 5,
            "credits_per_execution": Decimal("0.5"), "users": 2, "frequent_errors": ["timeout"],
            "last_event_at": at(11),
        },
    ),
    "company_profile": (
        story(
            (0, "company_updated", {"company_id": "c", "region": "north"}),
            (1, "company_created", {"company_id": "c", "company": "Acme", "industry": "Retail",
                                    "domain": "acme.example"}),
            (2, "lead_created", {**LEAD, "company_id": "c", "company": "Acme Ltd", "industry": "Retail",
                                 "company_size": 9, "lead_source": "event", "email": "l@acme.example"}),
            (3, "company_updated", {"company_id": "c", "company_size": 12}),
            (4, "lead_moved_company", {**LEAD, "company_id": "c"}),
        ),
        ("c",),
        {
            "company": "Acme Ltd", "industry": "Retail", "company_size": 12, "domain": "acme.example",
            "region": "north", "created_at": at(1), "leads_created": 1, "last_event_at": at(4),
        },
    ),
    "deal_stages": (
        story(
            (0, "deal_opened", {**DEAL, "sales_representative_id": "r", "amount": 1, "currency": "EUR"}),
            (1, "deal_stage_changed", {**DEAL, "stage": "proposal", "probability": 0.3}),
            (2, "deal_stage_changed", {**DEAL, "stage": "negotiation"}),
            (3, "deal_stage_changed", {**DEAL, "stage": "proposal", "probability": 0.4}),
            (4, "deal_lost", {**DEAL, "reason": "price"}),
        ),
        ("d", "proposal"),
        {
            "entered_at": at(1), "last_entered_at": at(3), "entries": 2, "probability": Decimal("0.4"),
            "last_event_at": at(3),
        },
    ),
    "experiment_variants": (
        [
            replace(started, schema_version=version)
            for version, started in enumerate(
                story(
                    (1, "experiment_started", {"experiment_id": "e", "name": "New", "variants": ["red", "blue"]}),
                    (0, "experiment_started", {"experiment_id": "e", "name": "Old", "variants": [
                        {"variant": "blue", "weight": 9}, {"variant": "red", "weight": 1},
                    ]}),
                ),
                1,
            )
        ],
        ("e", "blue"),
        {"name": "New", "is_control": False, "weight": 1, "started_at": at(0), "last_event_at": at(1)},
    ),
    "experiment_conversions": (
        story(
            (0, "experiment_converted", {**EXPERIMENT, "metric": "order", "value": 3}),
            (1, "experiment_converted", {**EXPERIMENT, "metric": "order"}),
            (1, "experiment_converted", EXPERIMENT),
        ),
        ("e", "w", "order"),
        {
            "conversions": 2, "conversion_value": 3, "first_at": at(0), "last_event_at": at(1),
            "moments": [[at(0).timestamp(), 3], [at(1).timestamp(), None]],
        },
    ),
    "user_activity": (
        story(
            (0, "user_invited", {"user_id": "u", "workspace_id": "w"}),
            (1, "user_registered", {"user_id": "u", "workspace_id": "w", "role": "member", "is_bot": True}),
            (2, "session_started", {"session_id": "s", "user_id": "u", "workspace_id": "w"}),
            (3, "agent_execution_started", {"execution_id": "x", **AGENT, "user_id": "u"}),
            (4, "session_ended", {"session_id": "s", "user_id": "u", "workspace_id": "w", "duration_ms": 120_000}),
            (5, "user_deactivated", {"user_id": "u", "workspace_id": "w"}),
        ),
        ("u",),
        {
            "workspace_id": "w", "role": "member", "is_declared_bot": True, "invited_at": at(0),
            "registered_at": at(1), "onboarded_at": None, "deactivated_at": at(5), "sessions": 1,
            "session_seconds": 120, "executions_started": 1, "last_active_at": at(4), "last_event_at": at(5),
        },
    ),
    "relationship_edges": (
        story(
            (0, "manager_assigned", {**LEAD, "manager_id": "k"}),
            (DAY, "manager_removed", {**LEAD, "manager_id": "k"}),
            (2 * DAY, "manager_assigned", {**LEAD, "manager_id": "k"}),
            (3 * DAY, "manager_removed", {**LEAD, "manager_id": "k"}),
            (4 * DAY, "message_exchanged", {"message_id": "1", "sender_id": "l", "recipient_id": "k",
                                            "channel": "chat"}),
        ),
        ("l", "k", "reports_to"),
        {
            "interactions": 2, "first_at": at(0), "last_at": at(2 * DAY), "is_current": False,
            "last_removed_at": at(3 * DAY), "days": 2, "channels": [], "last_event_at": at(3 * DAY),
        },
    ),
    "experiment_exposures": (
        story(
            (0, "experiment_converted", {**EXPERIMENT, "metric": "order", "value": 3}),
            (1, "experiment_assigned", {**EXPERIMENT, "variant": "blue"}),
            (2, "experiment_exposed", {**EXPERIMENT, "variant": "blue"}),
            (3, "experiment_exposed", {**EXPERIMENT, "variant": "red"}),
            (4, "experiment_converted", EXPERIMENT),
        ),
        ("e", "w"),
        {
            "variant": "blue", "assigned_variant": "blue", "variants_seen": ["blue", "red"], "assigned_at": at(1),
            "exposed_at": at(2), "exposures": 2, "converted_at": at(0), "last_converted_at": at(4),
            "has_converted": True, "conversions": 2, "conversion_value": 3, "metrics": ["order"],
        },
    ),
    "saga_state": (
        story(
            (0, "saga_started", SAGA), (1, "saga_step_completed", {**SAGA, "step": "reserve"}),
            (2, "saga_step_failed", {**SAGA, "step": "launch", "reason": "no audience"}),
            (3, "saga_step_completed", {**SAGA, "step": "launch"}),  # not while it compensates
            (4, "saga_step_compensated", {**SAGA, "step": "reserve"}),
            (10, "saga_compensated", {**SAGA, "reason": "no audience"}),
        ),
        ("s",),
        {
            "saga": "launch", "status": "compensated", "status_since": at(10), "seconds_in_running": 120,
            "seconds_in_compensating": 480, "seconds_in_inbox": 0, "invalid_transitions": 1, "steps_completed": 2,
            "steps": ["launch", "reserve"], "steps_failed": 1, "steps_compensated": 1, "reason": "no audience",
            "started_at": at(0), "ended_at": at(10),
        },
    ),
    "order_contents": (
        story(
            (0, "order_placed", {**PLACED, "store_id": "s", "region": "north"}),
            (1, "order_placed", {**PLACED, "customer_id": "v", **REPRESENTATIVE}),
        ),
        ("o",),
        {
            "customer_id": "v", "store_id": None, "sales_representative_id": "r", "region": None, "channel": "online",
            "currency": "EUR", "lines": [{"product_id": "p", "quantity": 2, "revenue": 9.9}],
            "moment": "2017-06-01T12:01:00.000000Z 4611686018427387904 1 test",
        },
    ),
    "order_line_changes": (
        story(
            (0, "order_line_added", {**ORDER, **LINE, "discount": Decimal("0.10")}),
            (0, "order_line_added", {**ORDER, **LINE, "revenue": 5}),
            (1, "order_line_removed", {**ORDER, "product_id": "p"}),
        ),
        ("o", "2017-06-01T12:00:00.000000Z 4611686018427387904 0 test"),
        {
            "added_at": at(0), "removed_at": None, "product_id": "p", "quantity": 2, "revenue": Decimal("9.90"),
            "discount": Decimal("0.10"), "coupon_discount": None,
        },
    ),
    "order_refunds": (
        story(
            (0, "order_refunded", {**ORDER, "amount": Decimal("4.95")}),
            (1, "order_refunded", {**ORDER, "amount": 1}), (DAY, "order_refunded", {**ORDER, "amount": 9}),
            (2, "order_line_returned", {**ORDER, "product_id": "p", "quantity": 1, "refund": Decimal("0.05")}),
            (3, "order_line_returned", {**ORDER, "product_id": "p", "quantity": 1, "refund": 0}),
        ),
        ("o", "2017-06-01"),
        {"refunds": 3, "refunded_amount": Decimal("6.00")},
    ),
    "deal_state": (
        story(
            (0, "deal_opened", {**DEAL, "amount": 100, "currency": "EUR", **REPRESENTATIVE}),
            (1, "deal_stage_changed", {**DEAL, "stage": "offer", "probability": Decimal("0.5")}),
            (2, "deal_amount_changed", {**DEAL, "amount": 120, "currency": "USD"}),
            (3, "deal_lost", {**DEAL, "reason": "price", "sales_representative_id": "closer"}),
            (4, "deal_won", {**DEAL, "amount": 90, "currency": "CHF"}),
        ),
        ("d",),
        {
            "lead_id": "l", "sales_representative_id": "closer", "opened_at": at(0), "opened_amount": 100,
            "expected_amount": 120, "opened_currency": "EUR", "expected_currency": "USD", "won_currency": "CHF",
            "currency": "CHF", "stage": "offer", "probability": Decimal("0.5"),
            "outcome": "won", "closed_at": at(4), "won_amount": 90, "lost_reason": None, "last_event_at": at(4),
        },
    ),
}  # fmt: skip


def test_rows_are_what_a_person_works_out(database: ConnectionPool) -> None:
    """A few events, the last one first, give the row that follows from them by hand, in every model."""
    assert HAND_CHECKED.keys() == READ_MODELS.keys()
    store = EventStore(database)
    for name, (events, _, _) in HAND_CHECKED.items():
        assert store.append_batch(name, reversed(events)).quarantined == 0
    advance(database)
    with database.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        for name, (_, key, expected) in HAND_CHECKED.items():
            same = " and ".join(f"{column} = %s" for column in ("tenant_id", *READ_MODELS[name].key))
            found = cursor.execute(f"select * from read_models.{name} where {same}", [name, *key]).fetchone()
            assert found is not None, name
            assert (name, {column: found[column] for column in expected}) == (name, expected)


def test_the_planted_truth_is_found(database: ConnectionPool) -> None:
    """What the simulator knows before there are events is what the models add up to."""
    known = truth(EVENTS, 1)
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    advance(database)
    counts = Counter(known.counts)
    ended = counts["agent_execution_completed"] + counts["agent_execution_failed"]
    emails = tuple(counts[name] for name in ("email_sent", "email_opened", "email_clicked", "email_replied"))
    sums = "sum(emails_sent), sum(emails_opened), sum(emails_clicked), sum(emails_replied)"
    expected: dict[str, tuple[object, ...]] = {
        f"select {sums} from read_models.lead_analytics": emails,
        f"select {sums} from read_models.campaign_performance": emails,
        "select sum(emails_sent) from read_models.engagement_funnel": emails[:1],
        "select count(*) filter (where created_at is not null) from read_models.lead_analytics":
            (counts["lead_created"],),
        "select sum(interactions) from read_models.relationship_edges where kind = 'introduced'":
            (counts["introduction_made"],),
        "select sum(deals_opened), sum(won_amount) from read_models.sales_rep_activity":
            (counts["deal_opened"], known.deals_won),
        "select sum(revenue) filter (where status <> 'cancelled'), sum(refunded_amount) from read_models.order_state":
            (known.order_revenue, known.refunded),
        "select sum(executions) from read_models.agent_performance": (ended,),
        "select sum(executions), count(created_at) from read_models.workspace_summary":
            (ended, counts["workspace_created"]),
        **{
            "select count(*), count(*) filter (where has_converted) from read_models.experiment_exposures"
            f" where variant = '{variant}'": (exposed, known.converted[variant])
            for variant, exposed in known.exposed.items()
        },
    }  # fmt: skip
    with database.connection() as connection:
        assert {query: connection.execute(query).fetchone() for query in expected} == expected


def test_events_without_the_value_that_is_counted_are_not_counted(database: ConnectionPool) -> None:
    """A value that is missing, one or all of them, is in no tally and in no bin."""
    counted: dict[str, object] = {
        "tally(array['b', null, 'a', 'b'])": {"a": 1, "b": 2},
        "tally(array[null]::text[])": {},
        "tally(null)": {},
        "histogram(array[0, null, 2, 2], 2)": [1, 0, 2],
        "histogram(array[null]::integer[], 2)": [0, 0, 0],
        "histogram(null, 2)": [0, 0, 0],
    }
    with database.connection() as connection:
        for call, expected in counted.items():
            assert connection.execute(f"select read_models.{call}").fetchone() == (expected,), call
