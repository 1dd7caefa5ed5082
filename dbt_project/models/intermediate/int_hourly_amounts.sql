{# A day that the calendar begins or ends with no longer makes whole the one that it began or ended with before. -#}
{% set neighbouring_days %}
    select changed.tenant_id, changed.key::date + days.number
    from changed
    cross join (values (-1), (1)) as days (number)
{% endset -%}
{{ config(
    key=['hour_at', 'currency'],
    recompute='revenue_on',
    touched_by={
        'marts.fct_orders': 'ordered_on',
        'marts.fct_deals': 'closed_on',
        'marts.dim_dates': {'date_on': neighbouring_days},
    },
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

hours as (
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
        sum(cost) as cost
    from amounts
    group by tenant_id, date_trunc('hour', earned_at, 'UTC'), currency
),

-- The calendar has no gaps: a day without one before it is the tenant's first, and one without a next day goes on.
final as (
    select
        hours.*,
        (
            days_before.date_on is not null
            or hours.hour_at > min(hours.hour_at) over (partition by hours.tenant_id, hours.revenue_on)
        ) and (
            days_after.date_on is not null
            or hours.hour_at < max(hours.hour_at) over (partition by hours.tenant_id, hours.revenue_on)
        ) as is_complete
    from hours
    left join {{ ref('dim_dates') }} as days_before
        on
            hours.tenant_id = days_before.tenant_id
            and hours.revenue_on - 1 = days_before.date_on
    left join {{ ref('dim_dates') }} as days_after
        on
            hours.tenant_id = days_after.tenant_id
            and hours.revenue_on + 1 = days_after.date_on
)

select * from final
