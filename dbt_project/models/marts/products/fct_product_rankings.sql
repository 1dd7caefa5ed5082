{{ config(
    key=['product_id', 'currency'],
    recompute='tenant_id',
    touched_by={'marts.fct_product_sales': 'tenant_id', 'marts.dim_products': 'tenant_id'},
    indexes=[{'columns': ['tenant_id', 'revenue_rank']}],
) }}

with product_sales as (
    select * from {{ ref('fct_product_sales') }}
    where
        revenue > 0
        and {{ touched('tenant_id') }}
),

products as (
    select * from {{ ref('dim_products') }}
    where {{ touched('tenant_id') }}
),

-- Each currency has places of its own: what was sold in another one is neither added nor left out.
ranked as (
    select
        product_sales.tenant_id,
        product_sales.product_id,
        products.name,
        products.department,
        products.category,
        product_sales.currency,
        product_sales.quantity_sold,
        product_sales.revenue,
        product_sales.profit,
        (rank() over (ranges order by product_sales.revenue desc))::integer as revenue_rank,
        (rank() over (categories order by product_sales.revenue desc))::integer as revenue_rank_in_category
    from product_sales
    inner join products
        on
            product_sales.tenant_id = products.tenant_id
            and product_sales.product_id = products.product_id
    window
        ranges as (partition by product_sales.tenant_id, product_sales.currency),
        categories as (
            partition by
                product_sales.tenant_id, product_sales.currency, products.department, products.category
        )
),

-- The first ones only: further down each sale moves all the places below it.
final as (
    select * from ranked
    where
        revenue_rank <= {{ var('ranked_products') }}
        or revenue_rank_in_category <= {{ var('ranked_products_in_category') }}
)

select * from final
