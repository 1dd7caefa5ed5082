{{ config(
    key=['hour_at', 'currency'],
    recompute='revenue_on',
    touched_by={'marts.fct_orders': 'ordered_on', 'marts.fct_deals': 'closed_on'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where {{ touched('ordered_on') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
    where {{ touched('closed_on') }}
),

amounts as (
    select
        tenant_id,
        ordered_at as earned_at,
        currency,
        1 as orders,
        revenue as order_revenue,
        0 as deals_won,
        0 as deal_revenue,
        costed_revenue,
        cost
    from orders
    where status <> 'cancelled'

    union all

    select
        tenant_id,
        closed_at as earned_at,
        currency,
        0 as orders,
        0 as order_revenue,
        1 as deals_won,
        won_amount as deal_revenue,
        0 as costed_revenue,
        0 as cost
    from deals
    where status = 'won'
),

final as (
    select
        tenant_id,
        date_trunc('hour', earned_at, 'UTC') as hour_at,
        {{ utc_date("date_trunc('hour', earned_at, 'UTC')") }} as revenue_on,
        currency,
        sum(orders)::integer as orders,
        sum(order_revenue) as order_revenue,
        sum(deals_won)::integer as deals_won,
        sum(deal_revenue) as deal_revenue,
        sum(order_revenue + deal_revenue) as revenue,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(costed_revenue - cost) as profit
    from amounts
    group by tenant_id, date_trunc('hour', earned_at, 'UTC'), currency
)

select * from final
