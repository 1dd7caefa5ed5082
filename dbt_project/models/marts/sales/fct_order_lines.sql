{{ config(
    key=['order_id', 'line_number'],
    recompute='order_id',
    touched_by={'read_models.order_contents': 'order_id', 'read_models.order_state': 'order_id'},
    indexes=[{'columns': ['tenant_id', 'product_id']}],
) }}

with order_lines as (
    select * from {{ ref('stg_order_lines') }}
),

order_states as (
    select * from {{ ref('stg_order_states') }}
),

final as (
    select
        order_lines.tenant_id,
        order_lines.order_id,
        order_lines.line_number,
        order_lines.customer_id,
        order_lines.product_id,
        order_lines.store_id,
        order_states.placed_at as ordered_at,
        {{ utc_date('order_states.placed_at') }} as ordered_on,
        order_lines.quantity,
        order_lines.revenue,
        order_lines.discount,
        order_lines.coupon_discount,
        order_lines.currency,
        order_states.status
    from order_lines
    inner join order_states
        on
            order_lines.tenant_id = order_states.tenant_id
            and order_lines.order_id = order_states.order_id
    where {{ touched('order_lines.order_id') }}
)

select * from final
