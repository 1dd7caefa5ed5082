"""Events of a CRM and of an app, for the warehouse's tests: what is built first, and what comes late."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from analytics_pipelines.event_log import NewEvent


def _event(number: int, event_type: str, day: int, hour: int = 12, **data: Any) -> NewEvent:
    occurred_at = datetime(2026, 3, day, hour, tzinfo=UTC)
    return NewEvent("app", str(number), f"stream-{next(iter(data.values()))}", event_type, occurred_at, data)


_MAIL = {"lead_id": "l", "campaign_id": "c", "message_id": "mail"}
_DEAL = {"deal_id": "d", "lead_id": "l"}
_PLACE = {"user_id": "u", "workspace_id": "w"}
_RUN = {"agent_id": "a", "workspace_id": "w"}
_RESULT = {"duration_ms": 900, "credits": 1}

APP_EVENTS = [
    _event(100, "company_created", 1, company_id="co", company="Acme", industry="Retail"),
    _event(101, "lead_created", 1, lead_id="l", company_id="co", company="Acme", industry="Retail", company_size=9,
           lead_source="event", email_domain="acme.example"),
    _event(102, "campaign_sent", 1, 11, campaign_id="c", customer_id="ann"),
    _event(103, "email_sent", 2, 9, **_MAIL),
    _event(104, "email_opened", 2, 10, **_MAIL),
    _event(105, "email_clicked", 2, 11, **_MAIL),
    _event(106, "deal_stage_changed", 3, **_DEAL, stage="proposal"),
    _event(107, "workspace_created", 1, workspace_id="w", lead_id="l", plan="team"),
    _event(108, "user_registered", 1, **_PLACE, role="member"),
    _event(109, "agent_created", 1, **_RUN, name="Scout"),
    _event(110, "session_started", 3, 23, session_id="s", **_PLACE),
    _event(111, "session_ended", 4, 1, session_id="s", **_PLACE, duration_ms=7_200_000),
    _event(112, "agent_execution_started", 3, 23, execution_id="1", **_RUN, user_id="import-bot"),
    _event(113, "agent_execution_completed", 4, 0, execution_id="1", **_RUN, **_RESULT),
    _event(114, "experiment_converted", 3, experiment_id="x", subject_id="l", metric="spent", value=5),
    _event(115, "session_started", 6, session_id="later", **_PLACE),
]  # fmt: skip

LATE_APP_EVENTS = [
    _event(120, "email_replied", 2, 14, **_MAIL),
    _event(121, "deal_stage_changed", 4, **_DEAL, stage="negotiation"),
    _event(122, "agent_execution_started", 4, 0, execution_id="2", **_RUN, user_id="import-bot"),
    _event(123, "agent_execution_failed", 4, 1, execution_id="2", **_RUN, **_RESULT, error="timeout"),
    _event(124, "session_started", 2, session_id="early", **_PLACE),
    _event(128, "session_started", 2, session_id="early", **{**_PLACE, "user_id": "another"}),
    _event(125, "experiment_converted", 4, experiment_id="x", subject_id="l", metric="spent", value=2),
    _event(126, "experiment_started", 4, experiment_id="x", name="Colours", variants=["red", "green"]),
    # Whose sessions seemed a person's, also on days of which nothing else is told.
    _event(127, "user_registered", 4, **_PLACE, role="bot"),
]  # fmt: skip
