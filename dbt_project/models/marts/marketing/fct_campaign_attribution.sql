{{ config(
    key=['campaign_id', 'currency', 'attribution_model'],
    recompute='campaign_id',
    touched_by={'marts.fct_attributed_conversions': 'campaign_id'},
) }}

with attributed as (
    select * from {{ ref('fct_attributed_conversions') }}
),

shares as (
    select
        attributed.tenant_id,
        attributed.campaign_id,
        attributed.currency,
        models.attribution_model,
        attributed.conversion_kind,
        attributed.revenue,
        models.share
    from attributed
    cross join
        lateral (
            values
            ('first', attributed.is_first::integer::numeric),
            ('last', attributed.is_last::integer::numeric),
            ('linear', attributed.linear_share)
        ) as models (attribution_model, share)
    where
        models.share > 0
        and {{ touched('attributed.campaign_id') }}
),

final as (
    select
        tenant_id,
        campaign_id,
        currency,
        attribution_model,
        sum(share) as conversions,
        coalesce(sum(share) filter (where conversion_kind = 'order'), 0) as orders,
        coalesce(sum(share) filter (where conversion_kind = 'deal'), 0) as deals,
        sum(revenue * share) as revenue
    from shares
    group by tenant_id, campaign_id, currency, attribution_model
)

select * from final
