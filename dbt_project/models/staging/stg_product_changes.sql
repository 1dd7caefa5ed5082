select
    tenant_id,
    product_id,
    moment,
    changed_at,
    added_at,
    name,
    department,
    category,
    brand,
    price,
    price_currency,
    cost_price,
    cost_currency
from {{ source('read_models', 'product_changes') }}
