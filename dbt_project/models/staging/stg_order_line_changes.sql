select
    tenant_id,
    order_id,
    moment collate "C" as moment,
    added_at,
    removed_at,
    product_id,
    quantity,
    revenue,
    coalesce(discount, 0) as discount,
    coalesce(coupon_discount, 0) as coupon_discount
from {{ source('read_models', 'order_line_changes') }}
