{%- set told = ['session_started', 'session_ended'] + var('session_activity') | list -%}

{# Who turns out to be a bot was one in all their sessions. -#}
{% set days_of_bots %}
    select
        sessions.tenant_id,
        sessions.started_on
    from changed
    inner join marts.fct_sessions as sessions
        on changed.tenant_id = sessions.tenant_id and changed.key = sessions.user_id
{% endset -%}
{{ config(
    key=['session_id', 'user_id', 'started_at'],
    recompute='started_on',
    touched_by={'event_log.events': told, 'intermediate.int_bots': {'user_id': days_of_bots}},
    days_before=1,
    days_after=1,
    indexes=[{'columns': ['tenant_id', 'started_on']}, {'columns': ['tenant_id', 'user_id']}],
) }}

with session_events as (
    select * from {{ events_of_days(ref('stg_session_events'), days_around=1) }} as session_events
),

bots as (
    select * from {{ ref('int_bots') }}
),

activity as (
    select
        tenant_id,
        event_type,
        session_id as given_id,
        user_id,
        workspace_id,
        occurred_at,
        {{ utc_date('occurred_at') }} as occurred_on
    from session_events
    where user_id is not null
),

-- On a day on which sessions are told of a user, what else they do makes no further ones.
user_days as (
    select
        *,
        bool_or(given_id is not null) over (partition by tenant_id, user_id, occurred_on) as is_told
    from activity
),

counted as (
    select * from user_days
    where
        given_id is not null
        or not is_told
),

-- A session begins where nothing went before it for so long; one with an id where its id was not used for a day. Those
-- without end at midnight, so that none of a bot's activity is lost that goes on for days without a pause.
marked as (
    select
        *,
        coalesce(
            occurred_at - lag(occurred_at) over in_order
            > case
                when given_id is null then interval '{{ var("session_gap_minutes") }} minutes'
                else interval '24 hours'
            end
            or (given_id is null and occurred_on > lag(occurred_on) over in_order),
            true
        ) as is_first
    from counted
    window in_order as (partition by tenant_id, user_id, given_id order by occurred_at)
),

numbered as (
    select
        *,
        sum(is_first::integer) over (partition by tenant_id, user_id, given_id order by occurred_at) as number
    from marked
),

begun as (
    select
        *,
        min(occurred_at) over (partition by tenant_id, user_id, given_id, number) as started_at,
        min(occurred_on) over (partition by tenant_id, user_id, given_id, number) as started_on
    from numbered
),

-- What lasts longer, with an id, is cut at the end of the day after its first; one of which only the end is told is none.
sessions as (
    select
        tenant_id,
        coalesce(
            given_id,
            user_id || '@' || to_char(started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ) as session_id,
        started_at,
        started_on,
        user_id,
        min(workspace_id collate "C") as workspace_id,
        given_id is not null as is_given,
        max(occurred_at) as ended_at,
        bool_or(event_type = 'session_ended') or given_id is null as has_ended,
        extract(epoch from max(occurred_at) - started_at) as seconds,
        count(*) filter (where event_type not in ('session_started', 'session_ended'))::integer as activities
    from begun
    where
        occurred_on <= started_on + 1
        and {{ touched('begun.started_on') }}
    group by tenant_id, user_id, given_id, number, started_at, started_on
    having bool_or(event_type <> 'session_ended')
),

final as (
    select
        sessions.*,
        bots.user_id is not null as is_bot
    from sessions
    left join bots
        on
            sessions.tenant_id = bots.tenant_id
            and sessions.user_id = bots.user_id
)

select * from final
