{{ config(
    key=['month_on', 'department', 'category', 'currency'],
    recompute='month_on',
    touched_by={'marts.fct_category_days': 'month_on'},
) }}

with category_days as (
    select * from {{ ref('fct_category_days') }}
    where {{ touched('month_on') }}
),

amounts as (
    select
        tenant_id,
        month_on,
        department,
        category,
        currency,
        sum(lines) as lines,
        sum(revenue) as revenue,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost
    from category_days
    group by tenant_id, month_on, department, category, currency
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
