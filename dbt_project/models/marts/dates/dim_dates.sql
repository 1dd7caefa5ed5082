{{ config(
    key=['date_on'],
    recompute='tenant_id',
    touched_by={'read_models.event_days': 'tenant_id'},
) }}

with event_days as (
    select * from {{ ref('stg_event_days') }}
    where {{ touched('tenant_id') }}
),

tenants as (
    select
        tenant_id,
        min(happened_on) as first_on,
        max(happened_on) as last_on
    from event_days
    group by tenant_id
),

days as (
    select
        tenants.tenant_id,
        spine.date_at::date as date_on,
        date_trunc('month', spine.date_at)::date as month_starts_on,
        date_trunc('month', spine.date_at) - interval '{{ var("fiscal_year_first_month") - 1 }} months' as fiscal_at
    from tenants
    cross join lateral generate_series(
        tenants.first_on::timestamp, tenants.last_on::timestamp, interval '1 day'
    ) as spine (date_at)
),

final as (
    select
        tenant_id,
        date_on,
        extract(year from date_on)::integer as year,
        extract(quarter from date_on)::integer as quarter,
        extract(month from date_on)::integer as month,
        extract(day from date_on)::integer as day_of_month,
        extract(doy from date_on)::integer as day_of_year,
        extract(isoyear from date_on)::integer as iso_year,
        extract(week from date_on)::integer as iso_week,
        extract(isodow from date_on)::integer as iso_weekday,
        extract(isodow from date_on) > 5 as is_weekend,
        date_trunc('week', date_on::timestamp)::date as week_starts_on,
        month_starts_on,
        date_trunc('quarter', date_on::timestamp)::date as quarter_starts_on,
        date_trunc('year', date_on::timestamp)::date as year_starts_on,
        -- A fiscal year is called after the calendar year in which it ends.
        (
            extract(year from fiscal_at) + {{ 1 if var("fiscal_year_first_month") > 1 else 0 }}
        )::integer as fiscal_year,
        extract(quarter from fiscal_at)::integer as fiscal_quarter,
        extract(month from fiscal_at)::integer as fiscal_month,
        (
            date_trunc('quarter', fiscal_at) + interval '{{ var("fiscal_year_first_month") - 1 }} months'
        )::date as fiscal_quarter_starts_on,
        (
            date_trunc('year', fiscal_at) + interval '{{ var("fiscal_year_first_month") - 1 }} months'
        )::date as fiscal_year_starts_on
    from days
)

select * from final
