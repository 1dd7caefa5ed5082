{%- set active = [
    'session_started',
    'agent_execution_started',
    'agent_execution_completed',
    'agent_execution_failed',
] -%}

{{ config(
    key=['hour_at'],
    recompute='active_on',
    touched_by={'event_log.events': active, 'marts.fct_user_days': 'active_on'},
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
        date_trunc('hour', occurred_at, 'UTC') as hour_at,
        {{ utc_date('occurred_at') }} as active_on,
        user_id,
        workspace_id,
        duration_ms,
        credits
    from usage_events
    where event_type in ('{{ active | join("', '") }}')
),

final as (
    select
        activity.tenant_id,
        activity.hour_at,
        activity.active_on,
        count(distinct activity.workspace_id)::integer as active_workspaces,
        count(distinct activity.user_id)::integer as active_users,
        count(distinct bot_days.user_id)::integer as active_bots,
        count(*) filter (where activity.event_type = 'session_started')::integer as sessions,
        count(activity.duration_ms)::integer as executions,
        count(*) filter (where activity.event_type = 'agent_execution_failed')::integer as executions_failed,
        percentile_disc(0.95) within group (order by activity.duration_ms) as p95_ms,
        coalesce(sum(activity.credits), 0) as credits
    from activity
    left join bot_days
        on
            activity.tenant_id = bot_days.tenant_id
            and activity.user_id = bot_days.user_id
            and activity.active_on = bot_days.active_on
    group by activity.tenant_id, activity.hour_at, activity.active_on
)

select * from final
