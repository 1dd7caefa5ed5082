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
    touched_by={'event_log.events': active, 'marts.fct_user_days': 'active_on'},
    indexes=[{'columns': ['tenant_id', 'active_on']}],
) }}

with usage_events as (
    select * from {{ events_of_days(ref('stg_usage_events')) }} as usage_events
),

-- Who is a bot is known of each user and day.
bot_days as (
    select * from {{ ref('fct_user_days') }} as user_days
    where is_bot and {{ touched('user_days.active_on') }}
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
        activity.tenant_id,
        activity.workspace_id,
        activity.active_on,
        count(distinct activity.user_id)::integer as active_users,
        count(distinct bot_days.user_id)::integer as active_bots,
        count(*) filter (where activity.event_type = 'session_started')::integer as sessions,
        count(*) filter (
            where activity.event_type in ('agent_execution_completed', 'agent_execution_failed')
        )::integer as executions,
        count(*) filter (where activity.event_type = 'agent_execution_failed')::integer as executions_failed,
        coalesce(sum(activity.credits) filter (where activity.event_type <> 'credits_granted'), 0) as credits_used,
        coalesce(sum(activity.credits) filter (where activity.event_type = 'credits_granted'), 0) as credits_granted
    from activity
    left join bot_days
        on
            activity.tenant_id = bot_days.tenant_id
            and activity.user_id = bot_days.user_id
            and activity.active_on = bot_days.active_on
    group by activity.tenant_id, activity.workspace_id, activity.active_on
)

select * from final
