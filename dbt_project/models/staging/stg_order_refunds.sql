select
    tenant_id,
    order_id,
    refunded_on::date as refunded_on,
    refunds,
    refunded_amount
from {{ source('read_models', 'order_refunds') }}
