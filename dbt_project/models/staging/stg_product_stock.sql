with product_stock as (
    select * from {{ source('read_models', 'product_stock') }}
),

final as (
    select
        tenant_id,
        product_id,
        discontinued_at,
        price,
        price_currency,
        cost_price,
        cost_currency,
        units_received,
        level as stock_level,
        reorder_point,
        is_low
    from product_stock
)

select * from final
