"""Where a saga stands, by its own events."""

from analytics_pipelines.read_models.columns import Move, count, earliest, first, last, latest, state_machine, values
from analytics_pipelines.read_models.declaration import ReadModel

_ACTIVE = ("running", "compensating")
_RESUMED = "data ->> 'decision'"
_ENDS = ("saga_completed", "saga_compensated")
_STEPS = ("saga_step_completed", "saga_step_failed", "saga_step_compensated")

MODEL = ReadModel(
    name="saga_state",
    grain=(
        "One row per tenant and saga: where it stands by its events. The table sagas.executions rules; this "
        "is what the log says. A saga's events carry the event time of its request, so that times tell little of them."
    ),
    key={"saga_id": "The execution of the saga"},
    columns=(
        first("saga", "text", "Name of the saga", "saga_started"),
        *state_machine(
            "status",
            {
                "running": "its steps are taken",
                "compensating": "a step failed, and those before it are taken back",
                "inbox": "it waits for a person",
                "completed": "all steps took effect",
                "compensated": "all effects were taken back",
            },
            Move("saga_started", ("",), "running"),
            Move("saga_step_completed", ("running",), "running"),
            Move("saga_step_failed", _ACTIVE, "compensating"),
            Move("saga_step_compensated", ("compensating",), "compensating"),
            Move("saga_suspended", ("", *_ACTIVE), "inbox"),
            Move("saga_resumed", ("inbox",), "compensating", where=f"{_RESUMED} = 'compensate'"),
            Move("saga_resumed", ("inbox",), "running", where=f"{_RESUMED} <> 'compensate'"),
            Move("saga_completed", ("running",), "completed"),
            Move("saga_compensated", _ACTIVE, "compensated"),
        ),
        count("steps_completed", "Steps that took effect", "saga_step_completed"),
        values("steps", "Their names", "saga_step_completed", value="data ->> 'step'"),
        count("steps_failed", "Steps, or compensations, that failed", "saga_step_failed"),
        count("steps_compensated", "Steps that were taken back", "saga_step_compensated"),
        last("reason", "text", "Why it failed, in its newest words", "saga_step_failed", "saga_suspended",
             "saga_compensated"),
        earliest("started_at", "Event time of its request (UTC)", "saga_started"),
        latest("ended_at", "Event time of its end (UTC)", *_ENDS),
        latest("last_event_at", "Newest event of the row (UTC)", "saga_started", *_STEPS, "saga_suspended",
               "saga_resumed", *_ENDS),
    ),
)  # fmt: skip
