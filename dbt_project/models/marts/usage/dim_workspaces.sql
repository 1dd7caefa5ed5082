{{ config(
    key=['workspace_id'],
    recompute='workspace_id',
    touched_by={'read_models.workspace_summary': 'workspace_id'},
) }}

with workspaces as (
    select * from {{ ref('stg_workspaces') }}
),

final as (
    select
        tenant_id,
        workspace_id,
        lead_id,
        plan,
        created_at,
        deleted_at,
        users_invited::integer as users_invited,
        users_registered::integer as users_registered,
        users_onboarded::integer as users_onboarded,
        users_deactivated::integer as users_deactivated,
        active_users::integer as active_users,
        sessions::integer as sessions,
        session_seconds,
        median_session_ms,
        agents_created::integer as agents_created,
        agents_deleted::integer as agents_deleted,
        executions,
        executions_failed,
        {{ ratio('executions - executions_failed', 'executions') }} as success_rate,
        credits_granted,
        credits_used,
        credits_left,
        campaigns_requested::integer as campaigns_requested,
        last_event_at
    from workspaces
    where {{ touched('workspaces.workspace_id') }}
)

select * from final
