{{ config(
    key=['revenue_on', 'currency'],
    recompute='revenue_on',
    touched_by={
        'marts.fct_orders': 'ordered_on',
        'marts.fct_deals': 'closed_on',
        'marts.fct_refunds': 'refunded_on',
    },
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
),

refunds as (
    select * from {{ ref('fct_refunds') }}
),

amounts as (
    select
        tenant_id,
        ordered_on as revenue_on,
        currency,
        count(*) filter (where status <> 'cancelled') as orders,
        coalesce(sum(revenue) filter (where status <> 'cancelled'), 0) as order_revenue,
        0 as deals_won,
        0 as deal_revenue,
        0 as refunded_amount,
        coalesce(sum(costed_revenue) filter (where status <> 'cancelled'), 0) as costed_revenue,
        coalesce(sum(cost) filter (where status <> 'cancelled'), 0) as cost,
        0 as costed_refunded_amount
    from orders
    where {{ touched('orders.ordered_on') }}
    group by tenant_id, ordered_on, currency

    union all

    select
        tenant_id,
        closed_on as revenue_on,
        currency,
        0 as orders,
        0 as order_revenue,
        count(*) as deals_won,
        sum(won_amount) as deal_revenue,
        0 as refunded_amount,
        0 as costed_revenue,
        0 as cost,
        0 as costed_refunded_amount
    from deals
    where status = 'won' and {{ touched('deals.closed_on') }}
    group by tenant_id, closed_on, currency

    union all

    select
        tenant_id,
        refunded_on as revenue_on,
        currency,
        0 as orders,
        0 as order_revenue,
        0 as deals_won,
        0 as deal_revenue,
        sum(refunded_amount) as refunded_amount,
        0 as costed_revenue,
        0 as cost,
        sum(costed_refunded_amount) as costed_refunded_amount
    from refunds
    where not is_cancelled and {{ touched('refunds.refunded_on') }}
    group by tenant_id, refunded_on, currency
),

final as (
    select
        tenant_id,
        revenue_on,
        currency,
        sum(orders)::integer as orders,
        sum(order_revenue) as order_revenue,
        sum(deals_won)::integer as deals_won,
        sum(deal_revenue) as deal_revenue,
        sum(order_revenue + deal_revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost,
        sum(costed_revenue - cost) as profit,
        sum(costed_revenue - cost - costed_refunded_amount) as profit_after_refunds
    from amounts
    group by tenant_id, revenue_on, currency
)

select * from final
