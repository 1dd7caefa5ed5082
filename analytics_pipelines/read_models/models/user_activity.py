"""What a user of the app does."""

from analytics_pipelines.read_models.columns import count, earliest, first, last, latest, total
from analytics_pipelines.read_models.declaration import ReadModel

_USER = ("user_invited", "user_registered")
_COURSE = (*_USER, "user_onboarded", "user_deactivated")
_DOES = ("session_started", "session_ended", "agent_execution_started")

MODEL = ReadModel(
    name="user_activity",
    grain="One row per tenant and user: how they came to the app and what they do in it. Bots are users, too.",
    key={"user_id": "The user"},
    columns=(
        first("workspace_id", "text", "The workspace they first came to", *_COURSE, *_DOES),
        last("role", "text", "What they may do in the workspace", "user_registered"),
        last("is_declared_bot", "boolean", "Whether the newest registration says is_bot: true, a field of the producer",
             "user_registered", value="data['is_bot'] = 'true'::jsonb"),
        earliest("invited_at", "When they were first invited (UTC)", "user_invited"),
        earliest("registered_at", "When they signed up (UTC)", "user_registered"),
        earliest("onboarded_at", "When they had taken the first steps (UTC)", "user_onboarded"),
        latest("deactivated_at", "When their access last ended (UTC)", "user_deactivated"),
        count("sessions", "Sessions begun", "session_started"),
        total("session_seconds", "Seconds in sessions that ended", "session_ended",
              value="(data ->> 'duration_ms')::numeric / 1000"),
        count("executions_started", "Executions of agents that they began", "agent_execution_started"),
        latest("last_active_at", "Newest session or execution (UTC)", *_DOES),
        latest("last_event_at", "Newest event of the row (UTC)", *_COURSE, *_DOES),
    ),
)  # fmt: skip
