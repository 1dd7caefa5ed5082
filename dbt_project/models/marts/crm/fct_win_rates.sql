{{ config(
    key=['month_on', 'sales_representative_id', 'currency'],
    recompute='month_on',
    touched_by={'marts.fct_deals': 'month_on'},
) }}

with deals as (
    select * from {{ ref('fct_deals') }}
),

closed as (
    select
        tenant_id,
        month_on,
        coalesce(sales_representative_id, 'unknown') as sales_representative_id,
        coalesce(currency, 'XXX') as currency,
        status,
        won_amount,
        closed_at - opened_at as took
    from deals
    where
        status in ('won', 'lost')
        and {{ touched('deals.month_on') }}
),

final as (
    select
        tenant_id,
        month_on,
        sales_representative_id,
        currency,
        count(*) filter (where status = 'won')::integer as deals_won,
        count(*) filter (where status = 'lost')::integer as deals_lost,
        {{ ratio("count(*) filter (where status = 'won')", 'count(*)') }} as win_rate,
        coalesce(sum(won_amount), 0) as won_amount,
        avg(extract(epoch from took)) filter (where status = 'won') as mean_seconds_to_win
    from closed
    group by tenant_id, month_on, sales_representative_id, currency
)

select * from final
