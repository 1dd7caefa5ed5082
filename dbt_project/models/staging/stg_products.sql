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
from {{ source('read_models', 'product_stock') }}
