with orders as (
    select * from {{ ref('fct_orders') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
),

refunds as (
    select * from {{ ref('stg_order_refunds') }}
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
        0 as refunded_amount
    from orders
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
        0 as refunded_amount
    from deals
    where status = 'won'
    group by tenant_id, closed_on, currency

    union all

    select
        refunds.tenant_id,
        {{ utc_date('refunds.refunded_at') }} as revenue_on,
        orders.currency,
        0 as orders,
        0 as order_revenue,
        0 as deals_won,
        0 as deal_revenue,
        refunds.refunded_amount
    from refunds
    inner join orders
        on
            refunds.tenant_id = orders.tenant_id
            and refunds.order_id = orders.order_id
),

tenants as (
    select
        tenant_id,
        min(revenue_on) as first_on,
        max(revenue_on) as last_on
    from amounts
    group by tenant_id
),

currencies as (
    select distinct
        tenant_id,
        currency
    from amounts
),

-- Every day has a row, so that a day without revenue is seen as 0 and not overlooked.
days as (
    select
        currencies.tenant_id,
        day.revenue_on::date as revenue_on,
        currencies.currency
    from currencies
    inner join tenants
        on currencies.tenant_id = tenants.tenant_id
    cross join lateral generate_series(
        tenants.first_on::timestamp, tenants.last_on::timestamp, interval '1 day'
    ) as day (revenue_on)
),

final as (
    select
        tenant_id,
        revenue_on,
        currency,
        coalesce(sum(amounts.orders), 0)::integer as orders,
        coalesce(sum(amounts.order_revenue), 0) as order_revenue,
        coalesce(sum(amounts.deals_won), 0)::integer as deals_won,
        coalesce(sum(amounts.deal_revenue), 0) as deal_revenue,
        coalesce(sum(amounts.order_revenue + amounts.deal_revenue), 0) as revenue,
        coalesce(sum(amounts.refunded_amount), 0) as refunded_amount
    from days
    left join amounts using (tenant_id, revenue_on, currency)
    group by tenant_id, revenue_on, currency
)

select * from final
