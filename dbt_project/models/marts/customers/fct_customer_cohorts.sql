{{ config(
    key=['cohort_month_on', 'currency', 'months_since'],
    recompute='tenant_id',
    touched_by={'marts.fct_orders': 'tenant_id'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        status <> 'cancelled'
        and {{ touched('tenant_id') }}
),

customer_months as (
    select
        tenant_id,
        customer_id,
        currency,
        date_trunc('month', ordered_on::timestamp)::date as month_on,
        count(*) as orders,
        sum(revenue) as revenue
    from orders
    group by tenant_id, customer_id, currency, date_trunc('month', ordered_on::timestamp)
),

-- Each currency is a shop of its own here: amounts of two cannot be compared.
placed as (
    select
        *,
        min(month_on) over (partition by tenant_id, customer_id, currency) as cohort_month_on
    from customer_months
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
    from placed
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

last_months as (
    select
        tenant_id,
        max(month_on) as last_month_on
    from active
    group by tenant_id
),

-- A month in which nobody of a cohort bought has its row, too.
months as (
    select
        cohorts.tenant_id,
        cohorts.cohort_month_on,
        cohorts.currency,
        cohorts.customers,
        month.month_at::date as month_on
    from cohorts
    inner join last_months
        on cohorts.tenant_id = last_months.tenant_id
    cross join lateral generate_series(
        cohorts.cohort_month_on::timestamp, last_months.last_month_on::timestamp, interval '1 month'
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
