with user_activity as (
    select * from {{ source('read_models', 'user_activity') }}
),

final as (
    select
        tenant_id,
        user_id,
        workspace_id,
        role,
        is_declared_bot,
        invited_at,
        registered_at,
        onboarded_at,
        deactivated_at,
        sessions,
        session_seconds,
        executions_started,
        last_active_at
    from user_activity
)

select * from final
