{# A cost price that is told late changes the lines that were sold since, and no others. -#}
{% set orders_of_another_cost %}
    select order_lines.tenant_id, order_lines.order_id
    from changed
    inner join marts.fct_order_lines as order_lines
        on changed.tenant_id = order_lines.tenant_id and changed.key = order_lines.product_id
    left join marts.dim_product_history as costs
        on
            order_lines.tenant_id = costs.tenant_id
            and order_lines.product_id = costs.product_id
            and order_lines.currency = costs.cost_currency
            and order_lines.ordered_at >= costs.valid_from_at
            and (order_lines.ordered_at < costs.valid_to_at or costs.valid_to_at is null)
    where order_lines.cost is distinct from order_lines.quantity * costs.cost_price
{% endset -%}
{{ config(
    key=['order_id', 'line_number'],
    recompute='order_id',
    touched_by={
        'read_models.order_contents': 'order_id',
        'read_models.order_state': 'order_id',
        'marts.dim_product_history': {'product_id': orders_of_another_cost},
    },
    indexes=[{'columns': ['tenant_id', 'product_id']}, {'columns': ['tenant_id', 'month_on']}],
) }}

with order_lines as (
    select * from {{ ref('stg_order_lines') }}
),

order_states as (
    select * from {{ ref('stg_order_states') }}
),

costs as (
    select * from {{ ref('dim_product_history') }}
    where cost_price is not null
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
        date_trunc('month', order_states.placed_at at time zone 'UTC')::date as month_on,
        order_lines.quantity,
        order_lines.revenue,
        order_lines.discount,
        order_lines.coupon_discount,
        order_lines.quantity * costs.cost_price as cost,
        order_lines.revenue - order_lines.quantity * costs.cost_price as profit,
        order_lines.currency,
        order_states.status
    from order_lines
    inner join order_states
        on
            order_lines.tenant_id = order_states.tenant_id
            and order_lines.order_id = order_states.order_id
    left join costs
        on
            order_lines.tenant_id = costs.tenant_id
            and order_lines.product_id = costs.product_id
            and order_lines.currency = costs.cost_currency
            and order_states.placed_at >= costs.valid_from_at
            and (order_states.placed_at < costs.valid_to_at or costs.valid_to_at is null)
    where {{ touched('order_lines.order_id') }}
)

select * from final
