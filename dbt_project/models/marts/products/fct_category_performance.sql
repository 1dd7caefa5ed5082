{{ config(
    key=['month_on', 'department', 'category', 'currency'],
    recompute='month_on',
    touched_by={
        'marts.fct_product_days': 'month_on',
        'intermediate.int_product_categories': {
            'product_id': '
                select product_days.tenant_id, product_days.month_on
                from changed
                inner join marts.fct_product_days as product_days
                    on changed.tenant_id = product_days.tenant_id and changed.key = product_days.product_id
            ',
        },
    },
) }}

with product_days as (
    select * from {{ ref('fct_product_days') }}
    where {{ touched('month_on') }}
),

products as (
    select * from {{ ref('int_product_categories') }}
),

-- Each product counts for the category that it is in now.
amounts as (
    select
        product_days.tenant_id,
        product_days.month_on,
        coalesce(products.department, '{{ var("unknown_category") }}') as department,
        coalesce(products.category, '{{ var("unknown_category") }}') as category,
        product_days.currency,
        sum(product_days.lines) as lines,
        sum(product_days.revenue) as revenue,
        sum(product_days.discount) as discount,
        sum(product_days.coupon_discount) as coupon_discount,
        sum(product_days.costed_revenue) as costed_revenue,
        sum(product_days.cost) as cost
    from product_days
    left join products
        on
            product_days.tenant_id = products.tenant_id
            and product_days.product_id = products.product_id
    group by
        product_days.tenant_id,
        product_days.month_on,
        coalesce(products.department, '{{ var("unknown_category") }}'),
        coalesce(products.category, '{{ var("unknown_category") }}'),
        product_days.currency
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
