{{ config(
    key=['region', 'month_on', 'currency'],
    recompute='tenant_id',
    touched_by={'intermediate.int_region_months': 'tenant_id', 'marts.dim_dates': 'tenant_id'},
    as_of_day=true,
) }}

with amounts as (
    select * from {{ ref('int_region_months') }}
    where {{ touched('tenant_id') }}
),

dates as (
    select * from {{ ref('dim_dates') }}
    where {{ touched('tenant_id') }}
),

tenants as (
    select
        tenant_id,
        min(date_on) as first_on,
        {{ utc_date(as_of_day('tenant_id')) }} as as_of_on
    from dates
    group by tenant_id
),

calendar as (
    select distinct
        tenant_id,
        month_starts_on as month_on
    from dates
),

regions as (
    select
        tenant_id,
        region,
        currency,
        min(month_on) as first_month_on
    from amounts
    group by tenant_id, region, currency
),

-- A region has a row of every month since its first sale, so that one without any is seen as 0 and not overlooked. A
-- month is complete when all its days lie between the tenant's first event and its newest.
months as (
    select
        regions.tenant_id,
        regions.region,
        calendar.month_on,
        regions.currency,
        calendar.month_on >= tenants.first_on
        and calendar.month_on + interval '1 month' <= tenants.as_of_on as is_complete,
        coalesce(amounts.customers, 0) as customers,
        coalesce(amounts.orders, 0) as orders,
        coalesce(amounts.revenue, 0) as revenue,
        coalesce(amounts.refunded_amount, 0) as refunded_amount,
        coalesce(amounts.costed_revenue, 0) as costed_revenue,
        coalesce(amounts.cost, 0) as cost,
        coalesce(amounts.profit_after_refunds, 0) as profit_after_refunds
    from regions
    inner join tenants
        on regions.tenant_id = tenants.tenant_id
    inner join calendar
        on
            regions.tenant_id = calendar.tenant_id
            and regions.first_month_on <= calendar.month_on
    left join amounts
        on
            regions.tenant_id = amounts.tenant_id
            and regions.region = amounts.region
            and regions.currency = amounts.currency
            and calendar.month_on = amounts.month_on
),

-- A part of a month is not compared with a whole one.
final as (
    select
        months.tenant_id,
        months.region,
        months.month_on,
        months.currency,
        months.is_complete,
        months.customers,
        months.orders,
        months.revenue,
        months.refunded_amount,
        months.costed_revenue,
        months.cost,
        months.costed_revenue - months.cost as profit,
        months.profit_after_refunds,
        {{ ratio('months.revenue', 'sum(months.revenue) over all_regions') }} as revenue_share,
        (rank() over (all_regions order by months.revenue desc))::integer as revenue_rank,
        previous.revenue as previous_revenue,
        {{ ratio('months.revenue - previous.revenue', 'previous.revenue') }} as growth
    from months
    left join months as previous
        on
            months.tenant_id = previous.tenant_id
            and months.region = previous.region
            and months.currency = previous.currency
            and months.month_on = (previous.month_on + interval '1 month')::date
            and months.is_complete
            and previous.is_complete
    window all_regions as (partition by months.tenant_id, months.month_on, months.currency)
)

select * from final
