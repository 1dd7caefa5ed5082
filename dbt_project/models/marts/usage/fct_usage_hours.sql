{%- set active = [
    'session_started',
    'agent_execution_started',
    'agent_execution_completed',
    'agent_execution_failed',
] -%}

{{ config(
    key=['hour_at'],
    recompute='active_on',
    touched_by={'event_log.events': active},
) }}

with usage_events as (
    select * from {{ events_of_days(ref('stg_usage_events')) }} as usage_events
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
        tenant_id,
        hour_at,
        active_on,
        count(distinct workspace_id)::integer as active_workspaces,
        count(distinct user_id)::integer as active_users,
        count(*) filter (where event_type = 'session_started')::integer as sessions,
        count(duration_ms)::integer as executions,
        count(*) filter (where event_type = 'agent_execution_failed')::integer as executions_failed,
        percentile_disc(0.95) within group (order by duration_ms) as p95_ms,
        coalesce(sum(credits), 0) as credits
    from activity
    group by tenant_id, hour_at, active_on
)

select * from final
