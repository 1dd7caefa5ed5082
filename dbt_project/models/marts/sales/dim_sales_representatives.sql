{{ config(
    key=['sales_representative_id'],
    recompute='sales_representative_id',
    touched_by={
        'read_models.sales_rep_activity': 'sales_representative_id',
        'marts.fct_sales_representative_months': 'sales_representative_id',
    },
) }}

with sales_representatives as (
    select * from {{ ref('stg_sales_representatives') }}
    where {{ touched('sales_representative_id') }}
),

months as (
    select * from {{ ref('fct_sales_representative_months') }}
    where {{ touched('sales_representative_id') }}
),

by_currency as (
    select
        tenant_id,
        sales_representative_id,
        currency,
        sum(orders) as orders,
        sum(deals_won) as deals_won,
        sum(deals_lost) as deals_lost,
        sum(revenue) as revenue,
        sum(commission) as commission,
        max(month_on) as last_month_on
    from months
    group by tenant_id, sales_representative_id, currency
),

-- Amounts are those in the currency of most sales; currencies are never added up.
sales as (
    select distinct on (tenant_id, sales_representative_id)
        tenant_id,
        sales_representative_id,
        sum(orders) over representatives as all_orders,
        sum(deals_won) over representatives as all_deals_won,
        sum(deals_lost) over representatives as all_deals_lost,
        currency,
        revenue,
        commission
    from by_currency
    window representatives as (partition by tenant_id, sales_representative_id)
    order by tenant_id asc, sales_representative_id asc, orders + deals_won desc, last_month_on desc, currency asc
),

final as (
    select
        tenant_id,
        sales_representative_id,
        sales_representatives.region,
        sales_representatives.commission_rate,
        sales_representatives.registered_at,
        sales_representatives.leads_assigned::integer as leads_assigned,
        sales_representatives.customers_assigned::integer as customers_assigned,
        sales_representatives.meetings_held::integer as meetings_held,
        sales_representatives.active_days::integer as active_days,
        coalesce(sales.all_orders, 0)::integer as orders,
        coalesce(sales.all_deals_won, 0)::integer as deals_won,
        coalesce(sales.all_deals_lost, 0)::integer as deals_lost,
        {{ ratio('sales.all_deals_won', 'sales.all_deals_won + sales.all_deals_lost') }} as win_rate,
        sales.currency,
        coalesce(sales.revenue, 0) as revenue,
        coalesce(sales.commission, 0) as commission,
        sales_representatives.last_event_at
    from sales_representatives
    left join sales using (tenant_id, sales_representative_id)
)

select * from final
