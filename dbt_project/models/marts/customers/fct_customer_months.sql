{{ config(
    key=['customer_id', 'month_on', 'currency'],
    recompute='customer_id',
    touched_by={'marts.fct_orders': 'customer_id'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        status <> 'cancelled'
        and {{ touched('customer_id') }}
),

final as (
    select
        tenant_id,
        customer_id,
        date_trunc('month', ordered_on::timestamp)::date as month_on,
        currency,
        count(*)::integer as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    group by tenant_id, customer_id, date_trunc('month', ordered_on::timestamp), currency
)

select * from final
