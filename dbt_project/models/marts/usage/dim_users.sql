{{ config(
    key=['user_id'],
    recompute='user_id',
    touched_by={'read_models.user_activity': 'user_id'},
    indexes=[{'columns': ['tenant_id', 'workspace_id']}],
) }}

with users as (
    select * from {{ ref('stg_users') }}
),

-- What a producer says of a user holds; where it says nothing, the role does, and then the id.
final as (
    select
        tenant_id,
        user_id,
        workspace_id,
        role,
        coalesce(
            is_declared_bot,
            role in ('{{ var("bot_roles") | join("', '") }}') or user_id ~* '{{ var("bot_user_pattern") }}',
            user_id ~* '{{ var("bot_user_pattern") }}'
        ) as is_bot,
        invited_at,
        registered_at,
        onboarded_at,
        deactivated_at,
        sessions::integer as sessions,
        session_seconds,
        executions_started::integer as executions_started,
        last_active_at
    from users
    where {{ touched('users.user_id') }}
)

select * from final
