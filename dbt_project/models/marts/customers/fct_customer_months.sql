{{ config(
    key=['customer_id', 'month_on', 'currency'],
    recompute='customer_id',
    touched_by={'marts.fct_orders': 'customer_id'},
    indexes=[{'columns': ['tenant_id', 'cohort_month_on']}],
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        status <> 'cancelled'
        and {{ touched('customer_id') }}
),

months as (
    select
        tenant_id,
        customer_id,
        month_on,
        currency,
        count(*) as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    group by tenant_id, customer_id, month_on, currency
),

-- Each currency is a shop of its own here: amounts of two cannot be compared.
final as (
    select
        tenant_id,
        customer_id,
        month_on,
        currency,
        min(month_on) over (partition by tenant_id, customer_id, currency) as cohort_month_on,
        orders::integer as orders,
        revenue,
        refunded_amount,
        revenue - refunded_amount as net_revenue,
        first_ordered_at,
        last_ordered_at
    from months
)

select * from final
