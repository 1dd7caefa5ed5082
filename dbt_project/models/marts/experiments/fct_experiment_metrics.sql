{{ config(
    key=['experiment_id', 'variant', 'metric'],
    recompute='experiment_id',
    touched_by={
        'read_models.experiment_exposures': 'experiment_id',
        'read_models.experiment_conversions': 'experiment_id',
    },
) }}

with subjects as (
    select * from {{ ref('stg_experiment_subjects') }} as subjects
    where
        exposed_at is not null
        and {{ touched('subjects.experiment_id') }}
),

metrics as (
    select * from {{ ref('stg_experiment_metrics') }} as metrics
    where {{ touched('metrics.experiment_id') }}
),

exposed as (
    select
        tenant_id,
        experiment_id,
        variant,
        count(*)::integer as subjects
    from subjects
    group by tenant_id, experiment_id, variant
),

measured as (
    select distinct
        tenant_id,
        experiment_id,
        metric
    from metrics
),

-- A conversion before the first exposure cannot be the variant's doing.
achieved as (
    select
        subjects.tenant_id,
        subjects.experiment_id,
        subjects.variant,
        metrics.metric,
        count(*) as conversions,
        coalesce(sum((conversion.item ->> 1)::numeric), 0) as value
    from metrics
    inner join subjects
        on
            metrics.tenant_id = subjects.tenant_id
            and metrics.experiment_id = subjects.experiment_id
            and metrics.subject_id = subjects.subject_id
    cross join lateral jsonb_array_elements(metrics.conversions) as conversion (item)
    where (conversion.item ->> 0)::numeric >= extract(epoch from subjects.exposed_at)
    group by
        subjects.tenant_id,
        subjects.experiment_id,
        subjects.variant,
        metrics.metric,
        subjects.subject_id
),

totals as (
    select
        tenant_id,
        experiment_id,
        variant,
        metric,
        count(*)::integer as converted,
        sum(conversions) as conversions,
        sum(conversions * conversions) as squared_conversions,
        sum(value) as value,
        sum(value * value) as squared_value
    from achieved
    group by tenant_id, experiment_id, variant, metric
),

-- Subjects who did not convert count, with 0: mean and variance are over all who saw the variant.
final as (
    select
        exposed.tenant_id,
        exposed.experiment_id,
        exposed.variant,
        measured.metric,
        exposed.subjects,
        coalesce(totals.converted, 0) as converted,
        {{ ratio('coalesce(totals.converted, 0)', 'exposed.subjects') }} as conversion_rate,
        coalesce(totals.conversions, 0)::integer as conversions,
        coalesce(totals.conversions, 0) / exposed.subjects as mean_conversions,
        {{ sample_variance('totals.conversions', 'totals.squared_conversions', 'exposed.subjects') }}
            as variance_of_conversions,
        coalesce(totals.value, 0) as value,
        coalesce(totals.value, 0) / exposed.subjects as mean_value,
        {{ sample_variance('totals.value', 'totals.squared_value', 'exposed.subjects') }} as variance_of_value
    from exposed
    inner join measured
        on
            exposed.tenant_id = measured.tenant_id
            and exposed.experiment_id = measured.experiment_id
    left join totals
        on
            exposed.tenant_id = totals.tenant_id
            and exposed.experiment_id = totals.experiment_id
            and exposed.variant = totals.variant
            and measured.metric = totals.metric
)

select * from final
