{{ config(
    key=['source', 'event_id'],
    recompute='touched_on',
    touched_by={'event_log.events': var('attribution_touches')},
    tells=['campaign_id', 'person_id'],
) }}

with events as (
    {{ events_of_days(var('attribution_touches')) }}
),

touches as (
    select
        tenant_id,
        source,
        event_id,
        event_type as touch,
        data ->> 'campaign_id' as campaign_id,
        case when data ->> 'lead_id' is null then 'customer' else 'lead' end as person_kind,
        coalesce(data ->> 'lead_id', data ->> 'customer_id') as person_id,
        occurred_at as touched_at,
        {{ utc_date('occurred_at') }} as touched_on
    from events
),

final as (
    select *
    from touches
    where
        campaign_id is not null
        and person_id is not null
)

select * from final
