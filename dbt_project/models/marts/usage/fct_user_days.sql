{%- set active = ['session_started', 'agent_execution_started'] -%}

{# Who turns out to be a bot was one on all their days. -#}
{% set days_of_bots %}
    select
        user_days.tenant_id,
        user_days.active_on
    from changed
    inner join marts.fct_user_days as user_days
        on changed.tenant_id = user_days.tenant_id and changed.key = user_days.user_id
{% endset -%}
{{ config(
    key=['user_id', 'active_on'],
    recompute='active_on',
    touched_by={'event_log.events': active, 'intermediate.int_bots': {'user_id': days_of_bots}},
    indexes=[{'columns': ['tenant_id', 'active_on']}],
) }}

with usage_events as (
    select * from {{ events_of_days(ref('stg_usage_events')) }} as usage_events
),

bots as (
    select * from {{ ref('int_bots') }}
),

days as (
    select
        tenant_id,
        user_id,
        {{ utc_date('occurred_at') }} as active_on,
        count(*) filter (where event_type = 'session_started')::integer as sessions,
        count(*) filter (where event_type = 'agent_execution_started')::integer as executions_started
    from usage_events
    where
        event_type in ('{{ active | join("', '") }}')
        and user_id is not null
    group by
        tenant_id,
        user_id,
        {{ utc_date('occurred_at') }}
),

final as (
    select
        days.tenant_id,
        days.user_id,
        days.active_on,
        bots.user_id is not null as is_bot,
        days.sessions,
        days.executions_started
    from days
    left join bots
        on
            days.tenant_id = bots.tenant_id
            and days.user_id = bots.user_id
)

select * from final
