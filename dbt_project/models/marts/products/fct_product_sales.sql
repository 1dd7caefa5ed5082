{{ config(
    key=['product_id', 'currency'],
    recompute='product_id',
    touched_by={'marts.fct_product_days': 'product_id'},
) }}

with product_days as (
    select * from {{ ref('fct_product_days') }}
    where {{ touched('product_id') }}
),

final as (
    select
        tenant_id,
        product_id,
        currency,
        sum(orders)::integer as orders,
        sum(quantity_sold) as quantity_sold,
        sum(revenue) as revenue,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(profit) as profit,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at
    from product_days
    group by tenant_id, product_id, currency
)

select * from final
