with workspace_summary as (
    select * from {{ source('read_models', 'workspace_summary') }}
),

final as (
    select
        tenant_id,
        workspace_id,
        lead_id,
        plan,
        created_at,
        deleted_at,
        users_invited,
        users_registered,
        users_onboarded,
        users_deactivated,
        sessions,
        active_users,
        session_seconds,
        median_session_ms,
        agents_created,
        agents_deleted,
        executions,
        executions_failed,
        credits_granted,
        credits_used,
        credits_left,
        campaigns_requested,
        last_event_at
    from workspace_summary
)

select * from final
