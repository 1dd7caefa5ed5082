{{ config(
    key=['region', 'month_on', 'currency'],
    recompute='month_on',
    touched_by={'marts.fct_orders': 'month_on'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        region is not null
        and status <> 'cancelled'
        and {{ touched('month_on') }}
),

-- By customer first, so that customers are counted without sorting.
customers as (
    select
        tenant_id,
        region,
        month_on,
        currency,
        count(*) as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(profit_after_refunds) as profit_after_refunds
    from orders
    group by tenant_id, region, month_on, currency, customer_id
),

final as (
    select
        tenant_id,
        region,
        month_on,
        currency,
        count(*)::integer as customers,
        sum(orders)::integer as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(profit_after_refunds) as profit_after_refunds
    from customers
    group by tenant_id, region, month_on, currency
)

select * from final
