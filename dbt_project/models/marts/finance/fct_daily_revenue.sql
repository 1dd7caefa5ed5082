{{ config(
    key=['revenue_on', 'currency'],
    recompute='tenant_id',
    touched_by={'intermediate.int_daily_amounts': 'tenant_id', 'marts.dim_dates': 'tenant_id'},
) }}

with amounts as (
    select * from {{ ref('int_daily_amounts') }}
    where {{ touched('tenant_id') }}
),

dates as (
    select * from {{ ref('dim_dates') }}
    where {{ touched('tenant_id') }}
),

tenants as (
    select
        tenant_id,
        min(revenue_on) as first_on
    from amounts
    group by tenant_id
),

currencies as (
    select distinct
        tenant_id,
        currency
    from amounts
),

-- Every day has a row, also those since the last sale, so that a day without revenue is seen as 0 and not overlooked.
days as (
    select
        currencies.tenant_id,
        dates.date_on as revenue_on,
        currencies.currency
    from currencies
    inner join tenants
        on currencies.tenant_id = tenants.tenant_id
    inner join dates
        on
            currencies.tenant_id = dates.tenant_id
            and tenants.first_on <= dates.date_on
),

final as (
    select
        tenant_id,
        revenue_on,
        currency,
        coalesce(amounts.orders, 0) as orders,
        coalesce(amounts.order_revenue, 0) as order_revenue,
        coalesce(amounts.deals_won, 0) as deals_won,
        coalesce(amounts.deal_revenue, 0) as deal_revenue,
        coalesce(amounts.revenue, 0) as revenue,
        coalesce(amounts.refunded_amount, 0) as refunded_amount,
        coalesce(amounts.costed_revenue, 0) as costed_revenue,
        coalesce(amounts.cost, 0) as cost,
        coalesce(amounts.profit, 0) as profit,
        coalesce(amounts.profit_after_refunds, 0) as profit_after_refunds
    from days
    left join amounts using (tenant_id, revenue_on, currency)
)

select * from final
