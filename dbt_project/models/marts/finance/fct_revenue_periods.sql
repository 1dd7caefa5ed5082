{{ config(
    key=['grain', 'starts_on', 'currency'],
    recompute='tenant_id',
    touched_by={'marts.fct_daily_revenue': 'tenant_id', 'marts.dim_dates': 'tenant_id'},
    as_of_day=true,
) }}

with daily_revenue as (
    select * from {{ ref('fct_daily_revenue') }}
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

{# Of each grain: the day that its period begins on, how long it is, and how far back the same one of the year before is.
   A week of the year before is the one 52 weeks earlier, so that its days are the same weekdays. -#}
{% set periods = {
    'day': ('date_on', '1 day', '1 year'),
    'week': ('week_starts_on', '7 days', '364 days'),
    'month': ('month_starts_on', '1 month', '1 year'),
    'quarter': ('quarter_starts_on', '3 months', '1 year'),
    'year': ('year_starts_on', '1 year', '1 year'),
    'fiscal_quarter': ('fiscal_quarter_starts_on', '3 months', '1 year'),
    'fiscal_year': ('fiscal_year_starts_on', '1 year', '1 year'),
} -%}
calendar as (
    select
        dates.tenant_id,
        dates.date_on,
        period.grain,
        period.starts_on,
        (period.starts_on + period.length)::date as next_starts_on,
        (period.starts_on - period.length)::date as previous_starts_on,
        (period.starts_on - period.year_length)::date as last_year_starts_on
    from dates
    cross join lateral (
        values
        {%- for grain in var('revenue_grains') %}
        ('{{ grain }}', dates.{{ periods[grain][0] }}, interval '{{ periods[grain][1] }}', interval '{{ periods[grain][2] }}')
        {{- ',' if not loop.last }}
        {%- endfor %}
    ) as period (grain, starts_on, length, year_length)
),

amounts as (
    select
        daily_revenue.tenant_id,
        calendar.grain,
        calendar.starts_on,
        calendar.next_starts_on,
        calendar.previous_starts_on,
        calendar.last_year_starts_on,
        daily_revenue.currency,
        sum(daily_revenue.orders) as orders,
        sum(daily_revenue.order_revenue) as order_revenue,
        sum(daily_revenue.deals_won) as deals_won,
        sum(daily_revenue.deal_revenue) as deal_revenue,
        sum(daily_revenue.revenue) as revenue,
        sum(daily_revenue.refunded_amount) as refunded_amount,
        sum(daily_revenue.costed_revenue) as costed_revenue,
        sum(daily_revenue.cost) as cost,
        sum(daily_revenue.profit_after_refunds) as profit_after_refunds
    from daily_revenue
    inner join calendar
        on
            daily_revenue.tenant_id = calendar.tenant_id
            and daily_revenue.revenue_on = calendar.date_on
    group by
        daily_revenue.tenant_id, calendar.grain, calendar.starts_on, calendar.next_starts_on,
        calendar.previous_starts_on, calendar.last_year_starts_on, daily_revenue.currency
),

-- A period is complete when all its days lie between the tenant's first event and its newest. Nobody knows when the first
-- day began: it counts as a whole one in a longer period, and is not complete itself.
periods as (
    select
        amounts.*,
        amounts.starts_on >= tenants.first_on
        and amounts.next_starts_on > tenants.first_on + 1
        and amounts.next_starts_on <= tenants.as_of_on as is_complete
    from amounts
    inner join tenants
        on amounts.tenant_id = tenants.tenant_id
),

-- Amounts are not converted: the reporting currency only says which rows a dashboard shows first.
reporting_currencies as (
    select distinct on (tenant_id)
        tenant_id,
        currency
    from periods
    group by tenant_id, currency
    order by tenant_id, currency <> '{{ var("reporting_currency") }}', sum(orders + deals_won) desc, currency
),

-- A part of a period is not compared with a whole one.
final as (
    select
        periods.tenant_id,
        periods.grain,
        periods.starts_on,
        periods.next_starts_on - 1 as ends_on,
        periods.currency,
        periods.currency = reporting_currencies.currency as is_reporting_currency,
        periods.is_complete,
        periods.orders::integer as orders,
        periods.order_revenue,
        periods.deals_won::integer as deals_won,
        periods.deal_revenue,
        periods.revenue,
        periods.refunded_amount,
        periods.costed_revenue,
        periods.cost,
        periods.costed_revenue - periods.cost as profit,
        periods.profit_after_refunds,
        previous.revenue as previous_revenue,
        {{ ratio('periods.revenue - previous.revenue', 'previous.revenue') }} as growth,
        last_year.revenue as last_year_revenue,
        {{ ratio('periods.revenue - last_year.revenue', 'last_year.revenue') }} as growth_on_last_year
    from periods
    inner join reporting_currencies
        on periods.tenant_id = reporting_currencies.tenant_id
    left join periods as previous
        on
            periods.tenant_id = previous.tenant_id
            and periods.grain = previous.grain
            and periods.previous_starts_on = previous.starts_on
            and periods.currency = previous.currency
            and periods.is_complete
            and previous.is_complete
    left join periods as last_year
        on
            periods.tenant_id = last_year.tenant_id
            and periods.grain = last_year.grain
            and periods.last_year_starts_on = last_year.starts_on
            and periods.currency = last_year.currency
            and periods.is_complete
            and last_year.is_complete
)

select * from final
