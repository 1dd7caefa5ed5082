with product_stock as (
    select * from {{ source('read_models', 'product_stock') }}
),

final as (
    select
        tenant_id,
        product_id,
        name,
        department,
        category,
        brand,
        manufacturer_id,
        package_size,
        added_at
    from product_stock
)

select * from final
