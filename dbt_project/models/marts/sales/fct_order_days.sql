{{ config(
    key=['ordered_on', 'channel', 'status', 'currency'],
    recompute='ordered_on',
    touched_by={'marts.fct_orders': 'ordered_on'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where {{ touched('ordered_on') }}
),

final as (
    select
        tenant_id,
        ordered_on,
        channel,
        status,
        currency,
        count(*)::integer as orders,
        sum(revenue) as revenue,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(costed_revenue - cost) as profit,
        sum(profit_after_refunds) as profit_after_refunds
    from orders
    group by tenant_id, ordered_on, channel, status, currency
)

select * from final
