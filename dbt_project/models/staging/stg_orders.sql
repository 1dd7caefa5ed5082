select
    tenant_id,
    order_id,
    customer_id,
    store_id,
    sales_representative_id,
    region,
    currency,
    lines,
    moment collate "C" as moment
from {{ source('read_models', 'order_contents') }}
