"""How a workspace uses the app."""

from analytics_pipelines.read_models.columns import (
    Derived,
    count,
    distinct_count,
    earliest,
    first,
    histogram,
    last,
    latest,
    percentile,
    total,
    values,
)
from analytics_pipelines.read_models.declaration import ReadModel

_CREDITS = "(data ->> 'credits')::numeric"
_PLANS = ("workspace_created", "workspace_plan_changed")
_EXECUTED = ("agent_execution_completed", "agent_execution_failed")
_MINUTE = 60_000
_SESSIONS = histogram(
    "session_histogram",
    "Sessions that ended by length: below 1, 5, 15, 30, 60, 120, 240, 480 minutes, and longer",
    "session_ended",
    value="data ->> 'duration_ms'",
    bounds=tuple(minutes * _MINUTE for minutes in (1, 5, 15, 30, 60, 120, 240, 480)),
)

MODEL = ReadModel(
    name="workspace_summary",
    grain="One row per tenant and workspace: who uses it, how much, and what that costs in credits.",
    key={"workspace_id": "The workspace"},
    by_day=True,
    columns=(
        first("lead_id", "text", "The lead it was created for", "workspace_created"),
        last("plan", "text", "What it pays for", *_PLANS),
        values("plans", "All plans it ever had", *_PLANS, value="data ->> 'plan'"),
        earliest("created_at", "When it was created (UTC)", "workspace_created"),
        earliest("deleted_at", "When it was given up (UTC)", "workspace_deleted"),
        count("users_invited", "Invitations", "user_invited"),
        count("users_registered", "Users who signed up", "user_registered"),
        count("users_onboarded", "Users who took the first steps to the end", "user_onboarded"),
        count("users_deactivated", "Users without access any more", "user_deactivated"),
        count("sessions", "Sessions begun", "session_started"),
        distinct_count("active_users", "Different users who began a session", "session_started",
                       value="data ->> 'user_id'"),
        total("session_seconds", "Seconds in sessions that ended", "session_ended",
              value="(data ->> 'duration_ms')::numeric / 1000"),
        _SESSIONS,
        percentile("median_session_ms", "Half of the sessions were shorter than this, in milliseconds, by bin",
                   _SESSIONS, 0.5),
        count("agents_created", "Agents set up", "agent_created"),
        count("agents_deleted", "Agents removed", "agent_deleted"),
        count("executions", "Executions of agents that ended", *_EXECUTED),
        count("executions_failed", "Of these, given up", "agent_execution_failed"),
        total("credits_granted", "Credits added", "credits_granted", value=_CREDITS),
        total("credits_used", "Credits used, by agents and otherwise", *_EXECUTED, "credits_used", value=_CREDITS),
        total("credits_reserved", "Credits set aside for campaigns", "credits_reserved", value=_CREDITS),
        total("credits_released", "Of these, given back", "credits_released", value=_CREDITS),
        Derived("credits_left", "numeric", "Credits granted - used - reserved + released; may be below 0",
                "credits_granted - credits_used - credits_reserved + credits_released"),
        count("campaigns_requested", "Campaigns it asked for", "campaign_launch_requested"),
        latest(
            "last_event_at", "Newest event of the row (UTC)",
            *_PLANS, "workspace_deleted", "user_invited", "user_registered", "user_onboarded", "user_deactivated",
            "session_started", "session_ended", "agent_created", "agent_deleted", *_EXECUTED, "credits_granted",
            "credits_used", "credits_reserved", "credits_released", "campaign_launch_requested",
        ),
    ),
)  # fmt: skip
