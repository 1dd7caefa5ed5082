{{ config(
    key=['stage', 'currency'],
    recompute='tenant_id',
    touched_by={'marts.fct_deal_stages': 'tenant_id', 'marts.fct_deals': 'tenant_id'},
) }}

with deal_stages as (
    select * from {{ ref('fct_deal_stages') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
),

-- XXX is the ISO 4217 code for no currency: of a deal known by its loss or a stage only, none is known.
final as (
    select
        deal_stages.tenant_id,
        deal_stages.stage,
        coalesce(deals.currency, 'XXX') as currency,
        avg(deal_stages.stage_number) as mean_stage_number,
        count(*)::integer as deals_entered,
        count(*) filter (where deal_stages.is_current)::integer as deals_now,
        coalesce(
            sum(deals.expected_amount) filter (where deal_stages.is_current and deals.status = 'open'), 0
        ) as amount_now,
        count(*) filter (where deal_stages.next_stage <> 'lost')::integer as deals_advanced,
        {{ ratio("count(*) filter (where deal_stages.next_stage <> 'lost')", 'count(*)') }} as conversion_rate,
        count(*) filter (where deals.status = 'won')::integer as deals_won,
        count(*) filter (where deals.status = 'lost')::integer as deals_lost,
        {{ ratio("count(*) filter (where deals.status = 'won')", "count(*) filter (where deals.status <> 'open')") }} as win_rate,
        avg(deal_stages.seconds) as mean_seconds
    from deal_stages
    left join deals
        on
            deal_stages.tenant_id = deals.tenant_id
            and deal_stages.deal_id = deals.deal_id
    where {{ touched('deal_stages.tenant_id') }}
    group by
        deal_stages.tenant_id,
        deal_stages.stage,
        coalesce(deals.currency, 'XXX')
)

select * from final
