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
    tells=['workspace_id'],
) }}

with events as (
    {{ events_of_days(active) }}
),

activity as (
    select
        tenant_id,
        event_type,
        data ->> 'workspace_id' as workspace_id,
        {{ utc_date('occurred_at') }} as active_on,
        data ->> 'user_id' as user_id,
        (data ->> 'credits')::numeric as credits
    from events
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
