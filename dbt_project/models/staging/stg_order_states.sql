select
    tenant_id,
    order_id,
    channel,
    currency,
    status,
    status_since as status_since_at,
    placed_at,
    paid_at,
    shipped_at,
    delivered_at,
    refunded_at,
    revenue,
    lines_added,
    lines_removed,
    quantity_returned,
    refunded_amount
from {{ source('read_models', 'order_state') }}
