{{ config(
    key=['product_id'],
    recompute='product_id',
    touched_by={'marts.dim_product_history': 'product_id'},
) }}

with history as (
    select * from {{ ref('dim_product_history') }}
    where
        is_current
        and {{ touched('product_id') }}
),

final as (
    select
        tenant_id,
        product_id,
        department,
        category
    from history
)

select * from final
