{{ config(
    key=['experiment_id', 'variant'],
    recompute='experiment_id',
    touched_by={
        'read_models.experiment_variants': 'experiment_id',
        'read_models.experiment_exposures': 'experiment_id',
    },
) }}

with variants as (
    select * from {{ ref('stg_experiment_variants') }} as variants
    where {{ touched('variants.experiment_id') }}
),

subjects as (
    select * from {{ ref('stg_experiment_subjects') }} as subjects
    where {{ touched('subjects.experiment_id') }}
),

assigned as (
    select
        tenant_id,
        experiment_id,
        assigned_variant as variant,
        count(*) as subjects
    from subjects
    where assigned_variant is not null
    group by tenant_id, experiment_id, assigned_variant
),

-- A subject belongs to the variant it saw first. A conversion before that cannot be the variant's doing.
exposed as (
    select
        tenant_id,
        experiment_id,
        variant,
        count(*) as subjects,
        count(*) filter (where has_converted) as conversions,
        min(exposed_at) as first_exposed_at,
        max(exposed_at) as last_exposed_at
    from subjects
    where exposed_at is not null
    group by tenant_id, experiment_id, variant
),

final as (
    select
        tenant_id,
        experiment_id,
        variant,
        variants.name,
        variants.is_control,
        variants.weight,
        variants.started_at,
        coalesce(assigned.subjects, 0)::integer as assigned,
        coalesce(exposed.subjects, 0)::integer as exposures,
        coalesce(exposed.conversions, 0)::integer as conversions,
        {{ ratio('exposed.conversions', 'exposed.subjects') }} as conversion_rate,
        exposed.first_exposed_at,
        exposed.last_exposed_at
    from variants
    full join assigned using (tenant_id, experiment_id, variant)
    full join exposed using (tenant_id, experiment_id, variant)
)

select * from final
