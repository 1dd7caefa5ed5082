{{ config(
    key=['store_id', 'month_on', 'currency'],
    recompute='month_on',
    touched_by={'marts.fct_orders': 'month_on'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        store_id is not null
        and status <> 'cancelled'
        and {{ touched('month_on') }}
),

final as (
    select
        tenant_id,
        store_id,
        month_on,
        currency,
        count(*)::integer as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(costed_revenue - cost) as profit,
        sum(profit_after_refunds) as profit_after_refunds,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    group by tenant_id, store_id, month_on, currency
)

select * from final
