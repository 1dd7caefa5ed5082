{{ config(
    key=['agent_id'],
    recompute='agent_id',
    touched_by={'read_models.agent_performance': 'agent_id'},
    indexes=[{'columns': ['tenant_id', 'workspace_id']}],
) }}

with agents as (
    select * from {{ ref('stg_agents') }}
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
        {{ ratio('executions_completed', 'executions') }} as success_rate,
        median_ms as p50_ms,
        p95_ms,
        p99_ms,
        average_ms as mean_ms,
        credits,
        users::integer as users,
        last_event_at
    from agents
    where {{ touched('agents.agent_id') }}
)

select * from final
