with events as (
    {{ events(['experiment_exposed']) }}
),

final as (
    select
        tenant_id,
        source,
        event_id,
        sequence,
        data ->> 'experiment_id' as experiment_id,
        data ->> 'subject_id' as subject_id,
        data ->> 'variant' as variant,
        occurred_at as exposed_at
    from events
)

select * from final
