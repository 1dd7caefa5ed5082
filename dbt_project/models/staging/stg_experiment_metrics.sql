with experiment_conversions as (
    select * from {{ source('read_models', 'experiment_conversions') }}
),

final as (
    select
        tenant_id,
        experiment_id,
        subject_id,
        metric,
        moments as conversions
    from experiment_conversions
)

select * from final
