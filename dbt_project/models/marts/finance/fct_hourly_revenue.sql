{# A day's hours are compared with those of the day before, and of the same day of the year before: 28 and 29 February with
   28 February. -#}
{% set compared_days %}
    select changed.tenant_id, days.revenue_on::date
    from changed
    cross join lateral (
        values
        (changed.key::date),
        (changed.key::date + 1),
        (changed.key::date + interval '1 year'),
        (changed.key::date + 1 + interval '1 year' - interval '1 day')
    ) as days (revenue_on)
{% endset -%}
{{ config(
    key=['hour_at', 'currency'],
    recompute='revenue_on',
    touched_by={'intermediate.int_hourly_amounts': {'revenue_on': compared_days}},
) }}

with hours as (
    select * from {{ ref('int_hourly_amounts') }}
    where {{ touched('revenue_on') }}
),

complete_hours as (
    select * from {{ ref('int_hourly_amounts') }}
    where is_complete
),

-- A part of an hour is not compared with a whole one.
final as (
    select
        hours.tenant_id,
        hours.hour_at,
        hours.revenue_on,
        hours.currency,
        hours.is_complete,
        hours.orders,
        hours.order_revenue,
        hours.deals_won,
        hours.deal_revenue,
        hours.revenue,
        hours.costed_revenue,
        hours.cost,
        hours.costed_revenue - hours.cost as profit,
        previous.revenue as previous_revenue,
        {{ ratio('hours.revenue - previous.revenue', 'previous.revenue') }} as growth,
        last_year.revenue as last_year_revenue,
        {{ ratio('hours.revenue - last_year.revenue', 'last_year.revenue') }} as growth_on_last_year
    from hours
    left join complete_hours as previous
        on
            hours.is_complete
            and hours.tenant_id = previous.tenant_id
            and hours.hour_at - interval '1 hour' = previous.hour_at
            and hours.currency = previous.currency
    left join complete_hours as last_year
        on
            hours.is_complete
            and hours.tenant_id = last_year.tenant_id
            and (hours.hour_at at time zone 'UTC' - interval '1 year') at time zone 'UTC' = last_year.hour_at
            and hours.currency = last_year.currency
)

select * from final
