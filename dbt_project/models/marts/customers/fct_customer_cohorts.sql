{{ config(
    key=['cohort_month_on', 'currency', 'months_since'],
    recompute='cohort_month_on',
    touched_by={'marts.fct_customer_months': 'cohort_month_on'},
    as_of_day=true,
) }}

with customer_months as (
    select * from {{ ref('fct_customer_months') }}
    where {{ touched('cohort_month_on') }}
),

active as (
    select
        tenant_id,
        cohort_month_on,
        currency,
        month_on,
        count(*) as customers,
        sum(orders) as orders,
        sum(revenue) as revenue
    from customer_months
    group by tenant_id, cohort_month_on, currency, month_on
),

cohorts as (
    select
        tenant_id,
        cohort_month_on,
        currency,
        customers
    from active
    where month_on = cohort_month_on
),

tenants as (
    select
        tenant_id,
        {{ utc_date(as_of_day('tenant_id')) }} as as_of_on
    from cohorts
    group by tenant_id
),

-- A month in which nobody of a cohort bought has its row, too, up to the month that is not over yet.
months as (
    select
        cohorts.tenant_id,
        cohorts.cohort_month_on,
        cohorts.currency,
        cohorts.customers,
        month.month_at::date as month_on,
        (month.month_at + interval '1 month')::date <= tenants.as_of_on as is_complete
    from cohorts
    inner join tenants
        on cohorts.tenant_id = tenants.tenant_id
    cross join lateral generate_series(
        cohorts.cohort_month_on::timestamp, tenants.as_of_on::timestamp, interval '1 month'
    ) as month (month_at)
),

final as (
    select
        months.tenant_id,
        months.cohort_month_on,
        months.currency,
        (
            extract(year from age(months.month_on, months.cohort_month_on)) * 12
            + extract(month from age(months.month_on, months.cohort_month_on))
        )::integer as months_since,
        months.month_on,
        months.is_complete,
        months.customers::integer as customers,
        coalesce(active.customers, 0)::integer as retained,
        {{ ratio('coalesce(active.customers, 0)', 'months.customers') }} as retention_rate,
        coalesce(active.orders, 0)::integer as orders,
        coalesce(active.revenue, 0) as revenue
    from months
    left join active
        on
            months.tenant_id = active.tenant_id
            and months.cohort_month_on = active.cohort_month_on
            and months.currency = active.currency
            and months.month_on = active.month_on
)

select * from final
