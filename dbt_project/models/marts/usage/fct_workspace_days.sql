{%- set active = [
    'session_started',
    'agent_execution_started',
    'agent_execution_completed',
    'agent_execution_failed',
    'credits_used',
    'credits_granted',
] -%}

{{ config(
    key=['workspace_id', 'active_on'],
    recompute='active_on',
    touched_by={'event_log.events': active},
    indexes=[{'columns': ['tenant_id', 'active_on']}],
) }}

with usage_events as (
    select * from {{ events_of_days(ref('stg_usage_events')) }} as usage_events
),

activity as (
    select
        tenant_id,
        event_type,
        workspace_id,
        {{ utc_date('occurred_at') }} as active_on,
        user_id,
        credits
    from usage_events
),

final as (
    select
        tenant_id,
        workspace_id,
        active_on,
        count(distinct user_id)::integer as active_users,
        count(*) filter (where event_type = 'session_started')::integer as sessions,
        count(*) filter (
            where event_type in ('agent_execution_completed', 'agent_execution_failed')
        )::integer as executions,
        count(*) filter (where event_type = 'agent_execution_failed')::integer as executions_failed,
        coalesce(sum(credits) filter (where event_type <> 'credits_granted'), 0) as credits_used,
        coalesce(sum(credits) filter (where event_type = 'credits_granted'), 0) as credits_granted
    from activity
    group by tenant_id, workspace_id, active_on
)

select * from final
