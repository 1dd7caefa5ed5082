with events as (
    {{ events(['experiment_converted']) }}
),

final as (
    select
        tenant_id,
        data ->> 'experiment_id' as experiment_id,
        data ->> 'subject_id' as subject_id,
        occurred_at as converted_at
    from events
)

select * from final
