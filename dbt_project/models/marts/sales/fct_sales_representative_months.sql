{{ config(
    key=['sales_representative_id', 'month_on', 'currency'],
    recompute='month_on',
    touched_by={
        'marts.fct_orders': 'month_on',
        'marts.fct_deals': 'month_on',
        'read_models.sales_rep_changes': {
            'sales_representative_id': '
                select months.tenant_id, months.month_on
                from changed
                inner join marts.fct_sales_representative_months as months
                    on changed.tenant_id = months.tenant_id and changed.key = months.sales_representative_id
            ',
        },
    },
    indexes=[{'columns': ['tenant_id', 'month_on']}],
) }}

with orders as (
    select * from {{ ref('fct_orders') }}
    where
        sales_representative_id is not null
        and status <> 'cancelled'
        and {{ touched('month_on') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
    where
        sales_representative_id is not null
        and status in ('won', 'lost')
        and currency is not null
        and {{ touched('month_on') }}
),

changes as (
    select * from {{ ref('stg_sales_representative_changes') }}
),

-- Where each representative sold, and for which share, from one moment to the next.
terms as (
    select
        tenant_id,
        sales_representative_id,
        changed_at as valid_from_at,
        lead(changed_at) over (partition by tenant_id, sales_representative_id order by moment) as valid_to_at,
        {{ last_told('region') }} as region,
        {{ last_told('commission_rate', 'numeric') }} as commission_rate
    from changes
    window moments as (partition by tenant_id, sales_representative_id order by moment)
),

sales as (
    select
        tenant_id,
        sales_representative_id,
        month_on,
        currency,
        ordered_at as sold_at,
        1 as orders,
        revenue as order_revenue,
        refunded_amount,
        0 as deals_won,
        0 as deals_lost,
        0 as deal_revenue
    from orders

    union all

    select
        tenant_id,
        sales_representative_id,
        month_on,
        currency,
        closed_at as sold_at,
        0 as orders,
        0 as order_revenue,
        0 as refunded_amount,
        (status = 'won')::integer as deals_won,
        (status = 'lost')::integer as deals_lost,
        coalesce(won_amount, 0) as deal_revenue
    from deals
),

-- The commission is the share that was agreed on when the sale was made, of what the sale brought and was not given back.
months as (
    select
        sales.tenant_id,
        sales.sales_representative_id,
        sales.month_on,
        sales.currency,
        -- The region of the last sale of the month.
        (array_agg(terms.region order by sales.sold_at desc, terms.region asc))[1] as region,
        sum(sales.orders) as orders,
        sum(sales.order_revenue) as order_revenue,
        sum(sales.refunded_amount) as refunded_amount,
        sum(sales.deals_won) as deals_won,
        sum(sales.deals_lost) as deals_lost,
        sum(sales.deal_revenue) as deal_revenue,
        sum(sales.order_revenue + sales.deal_revenue) as revenue,
        sum(
            (sales.order_revenue - sales.refunded_amount + sales.deal_revenue)
            * coalesce(terms.commission_rate, {{ var('commission_rate_unless_told') }})
        ) as commission
    from sales
    left join terms
        on
            sales.tenant_id = terms.tenant_id
            and sales.sales_representative_id = terms.sales_representative_id
            and sales.sold_at >= terms.valid_from_at
            and (sales.sold_at < terms.valid_to_at or terms.valid_to_at is null)
    group by sales.tenant_id, sales.sales_representative_id, sales.month_on, sales.currency
),

final as (
    select
        tenant_id,
        sales_representative_id,
        month_on,
        currency,
        region,
        orders::integer as orders,
        order_revenue,
        refunded_amount,
        deals_won::integer as deals_won,
        deals_lost::integer as deals_lost,
        {{ ratio('deals_won', 'deals_won + deals_lost') }} as win_rate,
        deal_revenue,
        revenue,
        commission,
        (rank() over (partition by tenant_id, month_on, currency order by revenue desc))::integer as revenue_rank,
        case
            when region is not null then
                (rank() over (partition by tenant_id, month_on, currency, region order by revenue desc))::integer
        end as revenue_rank_in_region
    from months
)

select * from final
