with events as (
    {{ events(['product_added']) }}
),

products as (
    select
        *,
        data ->> 'product_id' as product_id
    from events
),

final as (
    select distinct on (tenant_id, product_id)
        tenant_id,
        product_id,
        data ->> 'name' as name,
        data ->> 'department' as department,
        data ->> 'category' as category,
        data ->> 'brand' as brand,
        data ->> 'manufacturer_id' as manufacturer_id,
        data ->> 'package_size' as package_size,
        occurred_at as added_at
    from products
    order by tenant_id, product_id, {{ newest_first() }}
)

select * from final
