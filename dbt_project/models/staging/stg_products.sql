select
    tenant_id,
    product_id,
    name,
    department,
    category,
    brand,
    manufacturer_id,
    package_size,
    added_at,
    discontinued_at,
    price,
    price_currency,
    cost_price,
    cost_currency,
    units_received,
    level as stock_level,
    reorder_point
from {{ source('read_models', 'product_stock') }}
