{%- set executed = ['agent_execution_completed', 'agent_execution_failed'] -%}

{{ config(
    key=['agent_id', 'executed_on'],
    recompute='executed_on',
    touched_by={'event_log.events': executed},
    indexes=[{'columns': ['tenant_id', 'executed_on'], 'include': ['agent_id', 'executions']}],
) }}

with usage_events as (
    select * from {{ events_of_days(ref('stg_usage_events')) }} as usage_events
),

executions as (
    select
        tenant_id,
        agent_id,
        {{ utc_date('occurred_at') }} as executed_on,
        event_type = 'agent_execution_completed' as is_completed,
        duration_ms,
        credits
    from usage_events
    where event_type in ('{{ executed | join("', '") }}')
),

-- The three percentiles are read from one sorted list.
days as (
    select
        tenant_id,
        agent_id,
        executed_on,
        count(*)::integer as executions,
        count(*) filter (where is_completed)::integer as executions_completed,
        percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_ms) as percentiles,
        sum(duration_ms) as duration_ms,
        sum(credits) as credits
    from executions
    group by tenant_id, agent_id, executed_on
),

final as (
    select
        tenant_id,
        agent_id,
        executed_on,
        executions,
        executions_completed,
        executions - executions_completed as executions_failed,
        {{ ratio('executions_completed', 'executions') }} as success_rate,
        percentiles[1] as p50_ms,
        percentiles[2] as p95_ms,
        percentiles[3] as p99_ms,
        duration_ms,
        credits
    from days
)

select * from final
