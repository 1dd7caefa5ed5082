{{ config(
    key=['experiment_id', 'variant'],
    recompute='experiment_id',
    touched_by={'read_models.experiment_exposures': 'experiment_id'},
) }}

with subjects as (
    select * from {{ ref('stg_experiment_subjects') }}
),

-- A subject belongs to the variant it saw first. A conversion before that cannot be the variant's doing.
final as (
    select
        tenant_id,
        experiment_id,
        variant,
        count(*)::integer as exposures,
        count(*) filter (where has_converted)::integer as conversions,
        count(*) filter (where has_converted)::numeric / count(*) as conversion_rate,
        min(exposed_at) as first_exposed_at,
        max(exposed_at) as last_exposed_at
    from subjects
    where exposed_at is not null and {{ touched('subjects.experiment_id') }}
    group by tenant_id, experiment_id, variant
)

select * from final
