select
    orders.tenant_id,
    orders.order_id,
    line.number::integer as line_number,
    orders.customer_id,
    line.item ->> 'product_id' as product_id,
    orders.store_id,
    (line.item ->> 'quantity')::numeric as quantity,
    (line.item ->> 'revenue')::numeric as revenue,
    coalesce((line.item ->> 'discount')::numeric, 0) as discount,
    coalesce((line.item ->> 'coupon_discount')::numeric, 0) as coupon_discount,
    orders.currency
from {{ ref('stg_orders') }} as orders
cross join lateral jsonb_array_elements(orders.lines) with ordinality as line (item, number)
