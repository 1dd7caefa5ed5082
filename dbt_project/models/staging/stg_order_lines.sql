select
    orders.tenant_id,
    orders.order_id,
    line.number::integer as line_number,
    placed.customer_id,
    line.item ->> 'product_id' as product_id,
    placed.store_id,
    (line.item ->> 'quantity')::numeric as quantity,
    (line.item ->> 'revenue')::numeric as revenue,
    coalesce((line.item ->> 'discount')::numeric, 0) as discount,
    coalesce((line.item ->> 'coupon_discount')::numeric, 0) as coupon_discount,
    placed.currency,
    placed.moment
from {{ ref('stg_orders') }} as orders
-- noqa: disable=LT02,ST05,AM09
-- Taken out of the state once, and not again for each line.
cross join lateral (
    select
        orders.customer_id,
        orders.store_id,
        orders.currency,
        orders.moment
    limit 1
) as placed
-- noqa: enable=all
cross join lateral jsonb_array_elements(orders.lines) with ordinality as line (item, number)
