with exposures as (
    select * from {{ ref('stg_experiment_exposures') }}
),

conversions as (
    select * from {{ ref('stg_experiment_conversions') }}
),

-- A subject belongs to the variant it saw first.
subjects as (
    select distinct on (tenant_id, experiment_id, subject_id)
        tenant_id,
        experiment_id,
        subject_id,
        variant,
        exposed_at
    from exposures
    order by tenant_id, experiment_id, subject_id, exposed_at, sequence, event_id, source
),

last_conversions as (
    select
        tenant_id,
        experiment_id,
        subject_id,
        max(converted_at) as last_converted_at
    from conversions
    group by tenant_id, experiment_id, subject_id
),

-- A conversion before the first exposure cannot be the variant's doing.
final as (
    select
        subjects.tenant_id,
        subjects.experiment_id,
        subjects.variant,
        count(*)::integer as exposures,
        count(last_conversions.subject_id)::integer as conversions,
        count(last_conversions.subject_id)::numeric / count(*) as conversion_rate,
        min(subjects.exposed_at) as first_exposed_at,
        max(subjects.exposed_at) as last_exposed_at
    from subjects
    left join last_conversions
        on
            subjects.tenant_id = last_conversions.tenant_id
            and subjects.experiment_id = last_conversions.experiment_id
            and subjects.subject_id = last_conversions.subject_id
            and subjects.exposed_at <= last_conversions.last_converted_at
    group by subjects.tenant_id, subjects.experiment_id, subjects.variant
)

select * from final
