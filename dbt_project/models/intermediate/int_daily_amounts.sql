{{ config(
    key=['revenue_on', 'currency'],
    recompute='revenue_on',
    touched_by={'intermediate.int_hourly_amounts': 'revenue_on', 'marts.fct_refunds': 'refunded_on'},
) }}

with hours as (
    select * from {{ ref('int_hourly_amounts') }}
    where {{ touched('revenue_on') }}
),

refunds as (
    select * from {{ ref('fct_refunds') }}
    where not is_cancelled and {{ touched('refunded_on') }}
),

amounts as (
    select
        tenant_id,
        revenue_on,
        currency,
        orders,
        order_revenue,
        deals_won,
        deal_revenue,
        0 as refunded_amount,
        costed_revenue,
        cost,
        0 as costed_refunded_amount
    from hours

    union all

    select
        tenant_id,
        refunded_on as revenue_on,
        currency,
        0 as orders,
        0 as order_revenue,
        0 as deals_won,
        0 as deal_revenue,
        refunded_amount,
        0 as costed_revenue,
        0 as cost,
        costed_refunded_amount
    from refunds
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
