with event_days as (
    select * from {{ source('read_models', 'event_days') }}
),

final as (
    select
        tenant_id,
        date::date as happened_on,
        events
    from event_days
)

select * from final
