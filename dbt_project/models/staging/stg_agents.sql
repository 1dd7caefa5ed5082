with agent_performance as (
    select * from {{ source('read_models', 'agent_performance') }}
),

final as (
    select
        tenant_id,
        agent_id,
        workspace_id,
        name,
        model,
        created_at,
        deleted_at,
        executions,
        executions_completed,
        executions_failed,
        success_rate,
        median_ms,
        p95_ms,
        p99_ms,
        average_ms,
        credits,
        users,
        last_event_at
    from agent_performance
)

select * from final
