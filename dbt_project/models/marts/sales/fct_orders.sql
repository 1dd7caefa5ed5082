{{ config(
    key=['order_id'],
    recompute='order_id',
    touched_by={
        'read_models.order_contents': 'order_id',
        'read_models.order_state': 'order_id',
        'marts.fct_order_lines': 'order_id',
        'read_models.store_profile': {
            'store_id': '
                select orders.tenant_id, orders.order_id
                from changed
                inner join marts.fct_orders as orders
                    on changed.tenant_id = orders.tenant_id and changed.key = orders.store_id
            ',
        },
    },
    indexes=[
        {'columns': ['tenant_id', 'customer_id', 'ordered_at']},
        {'columns': ['tenant_id', 'ordered_on']},
        {'columns': ['tenant_id', 'month_on']},
        {'columns': ['tenant_id', 'store_id'], 'where': 'store_id is not null'},
    ],
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

stores as (
    select * from {{ ref('stg_stores') }}
),

amounts as (
    select
        tenant_id,
        order_id,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(revenue) as revenue,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount,
        coalesce(sum(revenue) filter (where cost is not null), 0) as costed_revenue,
        coalesce(sum(cost), 0) as cost
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
        -- Where it was sold is where the order says, else where its store is.
        coalesce(orders.region, stores.region) as region,
        orders.sales_representative_id,
        order_states.channel,
        order_states.currency,
        order_states.status,
        order_states.placed_at as ordered_at,
        {{ utc_date('order_states.placed_at') }} as ordered_on,
        {{ utc_month('order_states.placed_at') }} as month_on,
        order_states.paid_at,
        order_states.shipped_at,
        order_states.delivered_at,
        case when order_states.status = 'cancelled' then order_states.status_since_at end as cancelled_at,
        order_states.refunded_at,
        order_states.revenue as placed_revenue,
        order_states.lines_added + order_states.lines_removed > 0 as is_changed,
        coalesce(amounts.lines, 0)::integer as lines,
        coalesce(amounts.quantity, 0) as quantity,
        coalesce(amounts.revenue, 0) as revenue,
        coalesce(amounts.discount, 0) as discount,
        coalesce(amounts.coupon_discount, 0) as coupon_discount,
        order_states.quantity_returned,
        order_states.refunded_amount,
        coalesce(amounts.costed_revenue, 0) as costed_revenue,
        coalesce(amounts.cost, 0) as cost,
        coalesce(amounts.costed_revenue - amounts.cost, 0) as profit,
        case
            when amounts.costed_revenue > 0 then amounts.costed_revenue - amounts.cost - order_states.refunded_amount
            else 0
        end as profit_after_refunds
    from orders
    inner join order_states
        on
            orders.tenant_id = order_states.tenant_id
            and orders.order_id = order_states.order_id
    -- An order whose lines were all taken off has none, and is there all the same.
    left join amounts
        on
            orders.tenant_id = amounts.tenant_id
            and orders.order_id = amounts.order_id
    left join stores
        on
            orders.tenant_id = stores.tenant_id
            and orders.store_id = stores.store_id
    where {{ touched('orders.order_id') }}
)

select * from final
