{{ config(
    key=['ordered_on', 'department', 'category', 'currency'],
    recompute='ordered_on',
    touched_by={
        'marts.fct_order_lines': 'ordered_on',
        'intermediate.int_product_categories': {
            'product_id': '
                select order_lines.tenant_id, order_lines.ordered_on
                from changed
                inner join marts.fct_order_lines as order_lines
                    on changed.tenant_id = order_lines.tenant_id and changed.key = order_lines.product_id
            ',
        },
    },
    indexes=[{'columns': ['tenant_id', 'month_on']}],
) }}

with order_lines as (
    select * from {{ ref('fct_order_lines') }}
    where
        not is_cancelled
        and {{ touched('ordered_on') }}
),

products as (
    select * from {{ ref('int_product_categories') }}
),

-- Each product counts for the category that it is in now.
amounts as (
    select
        order_lines.tenant_id,
        order_lines.ordered_on,
        order_lines.currency,
        coalesce(products.department, '{{ var("unknown_category") }}') as department,
        coalesce(products.category, '{{ var("unknown_category") }}') as category,
        min(order_lines.month_on) as month_on,
        count(*)::integer as lines,
        sum(order_lines.revenue) as revenue,
        sum(order_lines.discount) as discount,
        sum(order_lines.coupon_discount) as coupon_discount,
        coalesce(sum(order_lines.revenue) filter (where order_lines.cost is not null), 0) as costed_revenue,
        coalesce(sum(order_lines.cost), 0) as cost
    from order_lines
    left join products
        on
            order_lines.tenant_id = products.tenant_id
            and order_lines.product_id = products.product_id
    group by
        order_lines.tenant_id,
        order_lines.ordered_on,
        order_lines.currency,
        coalesce(products.department, '{{ var("unknown_category") }}'),
        coalesce(products.category, '{{ var("unknown_category") }}')
),

final as (
    select
        tenant_id,
        ordered_on,
        department,
        category,
        currency,
        month_on,
        lines,
        revenue,
        discount,
        coupon_discount,
        costed_revenue,
        cost,
        costed_revenue - cost as profit
    from amounts
)

select * from final
