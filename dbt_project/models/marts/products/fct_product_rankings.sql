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

ranked as (
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
        (rank() over (ranges order by revenue desc))::integer as revenue_rank,
        (rank() over (categories order by revenue desc))::integer as revenue_rank_in_category
    from products
    window
        ranges as (partition by tenant_id, currency),
        categories as (partition by tenant_id, currency, department, category)
),

-- The first ones only: further down each sale moves all the places below it.
final as (
    select * from ranked
    where
        revenue_rank <= {{ var('ranked_products') }}
        or revenue_rank_in_category <= {{ var('ranked_products_in_category') }}
)

select * from final
