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
        'read_models.order_line_changes': 'order_id',
        'read_models.order_state': 'order_id',
        'marts.dim_product_history': {'product_id': orders_of_another_cost},
    },
    indexes=[{'columns': ['tenant_id', 'product_id']}, {'columns': ['tenant_id', 'ordered_on']}],
) }}

with placed_lines as (
    select * from {{ ref('stg_order_lines') }}
    where {{ touched('order_id') }}
),

orders as (
    select * from {{ ref('stg_orders') }}
),

additions as (
    select * from {{ ref('stg_order_line_changes') }}
    where
        added_at is not null
        and {{ touched('order_id') }}
),

removals as (
    select * from {{ ref('stg_order_line_changes') }}
    where
        removed_at is not null
        and {{ touched('order_id') }}
),

order_states as (
    select * from {{ ref('stg_order_states') }}
    where {{ touched('order_id') }}
),

costs as (
    select * from {{ ref('dim_product_history') }}
    where cost_price is not null
),

-- Lines added later come after those that the order was placed with. What was added before it was placed again is not
-- in it.
added_lines as (
    select
        orders.tenant_id,
        orders.order_id,
        (
            jsonb_array_length(orders.lines)
            + row_number() over (partition by orders.tenant_id, orders.order_id order by additions.moment)
        )::integer as line_number,
        orders.customer_id,
        additions.product_id,
        orders.store_id,
        additions.quantity,
        additions.revenue,
        additions.discount,
        additions.coupon_discount,
        orders.currency,
        additions.moment
    from additions
    inner join orders
        on
            additions.tenant_id = orders.tenant_id
            and additions.order_id = orders.order_id
            and additions.moment > orders.moment
),

order_lines as (
    select * from placed_lines
    union all
    select * from added_lines
),

-- Taking a product off takes all its lines off that were there at that moment.
kept_lines as (
    select order_lines.*
    from order_lines
    where not exists (
        select removals.moment
        from removals
        where
            removals.tenant_id = order_lines.tenant_id
            and removals.order_id = order_lines.order_id
            and removals.product_id = order_lines.product_id
            and removals.moment > order_lines.moment
    )
),

final as (
    select
        kept_lines.tenant_id,
        kept_lines.order_id,
        kept_lines.line_number,
        kept_lines.customer_id,
        kept_lines.product_id,
        kept_lines.store_id,
        order_states.placed_at as ordered_at,
        {{ utc_date('order_states.placed_at') }} as ordered_on,
        {{ utc_month('order_states.placed_at') }} as month_on,
        kept_lines.quantity,
        kept_lines.revenue,
        kept_lines.discount,
        kept_lines.coupon_discount,
        kept_lines.quantity * costs.cost_price as cost,
        kept_lines.revenue - kept_lines.quantity * costs.cost_price as profit,
        kept_lines.currency,
        order_states.status = 'cancelled' as is_cancelled
    from kept_lines
    inner join order_states
        on
            kept_lines.tenant_id = order_states.tenant_id
            and kept_lines.order_id = order_states.order_id
    left join costs
        on
            kept_lines.tenant_id = costs.tenant_id
            and kept_lines.product_id = costs.product_id
            and kept_lines.currency = costs.cost_currency
            and order_states.placed_at >= costs.valid_from_at
            and (order_states.placed_at < costs.valid_to_at or costs.valid_to_at is null)
)

select * from final
