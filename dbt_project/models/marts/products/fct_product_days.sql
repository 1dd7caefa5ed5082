{{ config(
    key=['product_id', 'ordered_on', 'currency'],
    recompute='ordered_on',
    touched_by={'marts.fct_order_lines': 'ordered_on'},
    indexes=[{'columns': ['tenant_id', 'ordered_on']}, {'columns': ['tenant_id', 'month_on']}],
) }}

with order_lines as (
    select * from {{ ref('fct_order_lines') }}
    where
        not is_cancelled
        and {{ touched('ordered_on') }}
),

amounts as (
    select
        tenant_id,
        product_id,
        ordered_on,
        currency,
        count(*) as lines,
        sum(quantity) as quantity_sold,
        sum(revenue) as revenue,
        sum(discount) as discount,
        sum(coupon_discount) as coupon_discount,
        coalesce(sum(revenue) filter (where cost is not null), 0) as costed_revenue,
        coalesce(sum(cost), 0) as cost,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from order_lines
    group by tenant_id, product_id, ordered_on, currency
),

-- A product's orders are its lines less those that repeat it within an order: half the work of counting distinct orders.
repeats_by_order as (
    select
        tenant_id,
        product_id,
        min(ordered_on) as ordered_on,
        min(currency) as currency,
        count(*) - 1 as repeats
    from order_lines
    group by tenant_id, product_id, order_id
    having count(*) > 1
),

repeats as (
    select
        tenant_id,
        product_id,
        ordered_on,
        currency,
        sum(repeats) as repeats
    from repeats_by_order
    group by tenant_id, product_id, ordered_on, currency
),

final as (
    select
        tenant_id,
        product_id,
        ordered_on,
        currency,
        {{ utc_month('amounts.first_ordered_at') }} as month_on,
        (amounts.lines - coalesce(repeats.repeats, 0))::integer as orders,
        amounts.lines::integer as lines,
        amounts.quantity_sold,
        amounts.revenue,
        amounts.discount,
        amounts.coupon_discount,
        amounts.costed_revenue,
        amounts.cost,
        amounts.costed_revenue - amounts.cost as profit,
        amounts.first_ordered_at,
        amounts.last_ordered_at
    from amounts
    left join repeats using (tenant_id, product_id, ordered_on, currency)
)

select * from final
