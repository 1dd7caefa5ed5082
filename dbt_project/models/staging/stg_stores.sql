select
    tenant_id,
    store_id,
    name,
    region,
    opened_at,
    last_opened_at,
    last_closed_at
from {{ source('read_models', 'store_profile') }}
