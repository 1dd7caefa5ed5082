{{ config(
    key=['region', 'month_on', 'currency'],
    recompute='tenant_id',
    touched_by={'marts.fct_orders': 'tenant_id'},
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        region is not null
        and status <> 'cancelled'
        and {{ touched('tenant_id') }}
),

-- By customer first, so that customers are counted without sorting.
customers as (
    select
        tenant_id,
        region,
        date_trunc('month', ordered_on::timestamp)::date as month_on,
        currency,
        count(*) as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost
    from orders
    group by tenant_id, region, date_trunc('month', ordered_on::timestamp), currency, customer_id
),

months as (
    select
        tenant_id,
        region,
        month_on,
        currency,
        count(*) as customers,
        sum(orders) as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(costed_revenue) as costed_revenue,
        sum(cost) as cost
    from customers
    group by tenant_id, region, month_on, currency
),

final as (
    select
        months.tenant_id,
        months.region,
        months.month_on,
        months.currency,
        months.customers::integer as customers,
        months.orders::integer as orders,
        months.revenue,
        months.refunded_amount,
        months.costed_revenue,
        months.cost,
        months.costed_revenue - months.cost as profit,
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
    window all_regions as (partition by months.tenant_id, months.month_on, months.currency)
)

select * from final
