{{ config(
    key=['month_on', 'department', 'category', 'currency'],
    recompute='month_on',
    touched_by={
        'marts.fct_order_lines': 'month_on',
        'marts.dim_product_history': {
            'product_id': '
                select order_lines.tenant_id, order_lines.month_on
                from changed
                inner join marts.fct_order_lines as order_lines
                    on changed.tenant_id = order_lines.tenant_id and changed.key = order_lines.product_id
            ',
        },
    },
) }}

with order_lines as (
    select * from {{ ref('fct_order_lines') }}
    where
        not is_cancelled
        and {{ touched('month_on') }}
),

products as (
    select * from {{ ref('dim_product_history') }}
    where is_current
),

-- Each product counts for the category that it is in now.
amounts as (
    select
        order_lines.tenant_id,
        order_lines.month_on,
        coalesce(products.department, '{{ var("unknown_category") }}') as department,
        coalesce(products.category, '{{ var("unknown_category") }}') as category,
        order_lines.currency,
        count(*) as lines,
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
        order_lines.month_on,
        coalesce(products.department, '{{ var("unknown_category") }}'),
        coalesce(products.category, '{{ var("unknown_category") }}'),
        order_lines.currency
),

final as (
    select
        tenant_id,
        month_on,
        department,
        category,
        currency,
        lines::integer as lines,
        revenue,
        discount,
        coupon_discount,
        costed_revenue,
        cost,
        costed_revenue - cost as profit,
        {{ ratio('revenue', 'sum(revenue) over months') }} as revenue_share,
        (rank() over (months order by revenue desc))::integer as revenue_rank,
        (rank() over (departments order by revenue desc))::integer as revenue_rank_in_department
    from amounts
    window
        months as (partition by tenant_id, month_on, currency),
        departments as (partition by tenant_id, month_on, currency, department)
)

select * from final
