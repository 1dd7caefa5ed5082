"""How well an agent works."""

from analytics_pipelines.read_models.columns import (
    Derived,
    count,
    distinct_count,
    earliest,
    histogram,
    last,
    latest,
    maximum,
    minimum,
    percentile,
    ratio,
    top,
    total,
)
from analytics_pipelines.read_models.declaration import ReadModel

_ENDED = ("agent_execution_completed", "agent_execution_failed")
_MILLISECONDS = "(data ->> 'duration_ms')::integer"
_DURATIONS = histogram(
    "duration_histogram",
    "Executions by duration: below 100, 200, 500, 1,000, 2,000, 5,000, 10,000, 20,000, 50,000, 100,000, 200,000, "
    "600,000, 3,600,000 milliseconds, and longer",
    *_ENDED,
    value=_MILLISECONDS,
    bounds=(100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 600_000, 3_600_000),
)

MODEL = ReadModel(
    name="agent_performance",
    grain="One row per tenant and agent: its executions, their duration and what they cost. Durations are by bin.",
    key={"agent_id": "The agent"},
    columns=(
        last("workspace_id", "text", "The workspace it works in", "agent_created"),
        last("name", "text", "Name of the agent", "agent_created"),
        last("model", "text", "The language model that it uses", "agent_created"),
        earliest("created_at", "When it was set up (UTC)", "agent_created"),
        earliest("deleted_at", "When it was removed (UTC)", "agent_deleted"),
        count("executions_started", "Executions that began", "agent_execution_started"),
        count("executions", "Executions that ended", *_ENDED),
        count("executions_completed", "Of these, with success", "agent_execution_completed"),
        count("executions_failed", "Of these, given up", "agent_execution_failed"),
        ratio("success_rate", "Successful executions per execution that ended", "executions_completed", "executions"),
        _DURATIONS,
        percentile("median_ms", "Half of the executions took less, in milliseconds", _DURATIONS, 0.5),
        percentile("p90_ms", "Nine of ten executions took less, in milliseconds", _DURATIONS, 0.9),
        percentile("p95_ms", "95 of 100 executions took less, in milliseconds", _DURATIONS, 0.95),
        percentile("p99_ms", "99 of 100 executions took less, in milliseconds", _DURATIONS, 0.99),
        minimum("shortest_ms", "integer", "The shortest execution, in milliseconds", *_ENDED, value=_MILLISECONDS),
        maximum("longest_ms", "integer", "The longest execution, in milliseconds", *_ENDED, value=_MILLISECONDS),
        total("duration_ms", "All executions together, in milliseconds", *_ENDED,
              value="(data ->> 'duration_ms')::numeric"),
        Derived("average_ms", "numeric", "Milliseconds per execution", "duration_ms / nullif(executions, 0)"),
        total("credits", "Credits charged", *_ENDED, value="(data ->> 'credits')::numeric"),
        ratio("credits_per_execution", "Credits per execution that ended", "credits", "executions"),
        distinct_count("users", "Different users who had it work", "agent_execution_started",
                       value="data ->> 'user_id'"),
        top("frequent_errors", "The most frequent errors, the first 100 characters of each", "agent_execution_failed",
            value="left(data ->> 'error', 100)"),
        latest("last_event_at", "Newest event of the row (UTC)",
               "agent_created", "agent_deleted", "agent_execution_started", *_ENDED),
    ),
)  # fmt: skip
