with events as (
    {{ events(['introduction_made']) }}
),

final as (
    select
        tenant_id,
        data ->> 'introducer_id' as introducer_id,
        data ->> 'introduced_id' as introduced_id,
        occurred_at
    from events
)

select * from final
