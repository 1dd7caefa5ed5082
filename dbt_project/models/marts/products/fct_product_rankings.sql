{{ config(
    key=['product_id'],
    recompute='tenant_id',
    touched_by={'marts.dim_products': 'tenant_id'},
    indexes=[{'columns': ['tenant_id', 'revenue_rank']}],
) }}

with products as (
    select * from {{ ref('dim_products') }}
    where
        revenue > 0
        and {{ touched('tenant_id') }}
),

final as (
    select
        tenant_id,
        product_id,
        name,
        department,
        category,
        currency,
        quantity_sold,
        revenue,
        profit,
        {{ ratio('revenue', 'sum(revenue) over ranges') }} as revenue_share,
        (rank() over (ranges order by revenue desc))::integer as revenue_rank,
        (rank() over (categories order by revenue desc))::integer as revenue_rank_in_category
    from products
    window
        ranges as (partition by tenant_id, currency),
        categories as (partition by tenant_id, currency, department, category)
)

select * from final
