{{ config(
    key=['source', 'event_id'],
    recompute='touched_on',
    touched_by={'event_log.events': var('attribution_touches')},
    indexes=[{'columns': ['tenant_id', 'person_id', 'touched_at']}, {'columns': ['tenant_id', 'touched_on']}],
) }}

with campaign_events as (
    select * from {{ events_of_days(ref('stg_campaign_events')) }} as campaign_events
),

final as (
    select
        tenant_id,
        source,
        event_id,
        event_type as touch,
        campaign_id,
        case when lead_id is null then 'customer' else 'lead' end as person_kind,
        coalesce(lead_id, customer_id) as person_id,
        occurred_at as touched_at,
        {{ utc_date('occurred_at') }} as touched_on
    from campaign_events
    where
        event_type in ('{{ var("attribution_touches") | join("', '") }}')
        and campaign_id is not null
        and coalesce(lead_id, customer_id) is not null
)

select * from final
