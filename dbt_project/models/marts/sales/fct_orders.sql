{{ config(
    key=['order_id'],
    recompute='order_id',
    touched_by={
        'read_models.order_contents': 'order_id',
        'read_models.order_state': 'order_id',
        'marts.fct_order_lines': 'order_id',
    },
    indexes=[{'columns': ['tenant_id', 'customer_id']}, {'columns': ['tenant_id', 'ordered_on']}],
) }}

with orders as (
    select * from {{ ref('stg_orders') }}
),

order_states as (
    select * from {{ ref('stg_order_states') }}
),

order_lines as (
    select * from {{ ref('fct_order_lines') }}
),

discounts as (
    select
        tenant_id,
        order_id,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount
    from order_lines
    where {{ touched('order_lines.order_id') }}
    group by tenant_id, order_id
),

final as (
    select
        orders.tenant_id,
        orders.order_id,
        orders.customer_id,
        orders.store_id,
        order_states.channel,
        order_states.currency,
        order_states.status,
        order_states.placed_at as ordered_at,
        {{ utc_date('order_states.placed_at') }} as ordered_on,
        order_states.paid_at,
        order_states.shipped_at,
        order_states.delivered_at,
        order_states.cancelled_at,
        order_states.refunded_at,
        order_states.lines,
        order_states.quantity,
        order_states.revenue,
        discounts.discount,
        discounts.coupon_discount,
        order_states.refunded_amount
    from orders
    inner join order_states
        on
            orders.tenant_id = order_states.tenant_id
            and orders.order_id = order_states.order_id
    inner join discounts
        on
            orders.tenant_id = discounts.tenant_id
            and orders.order_id = discounts.order_id
    where {{ touched('orders.order_id') }}
)

select * from final
