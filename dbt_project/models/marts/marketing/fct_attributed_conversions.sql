{{ config(
    key=['conversion_id', 'conversion_kind', 'campaign_id'],
    recompute='conversion_id',
    touched_by={
        'marts.fct_campaign_touches': {
            'person_id': '
                select orders.tenant_id, orders.order_id
                from changed
                inner join marts.fct_orders as orders
                    on changed.tenant_id = orders.tenant_id and changed.key = orders.customer_id
                union all
                select deals.tenant_id, deals.deal_id
                from changed
                inner join marts.fct_deals as deals
                    on changed.tenant_id = deals.tenant_id and changed.key = deals.lead_id
            ',
        },
        'marts.fct_orders': 'order_id',
        'marts.fct_deals': 'deal_id',
    },
    indexes=[{'columns': ['tenant_id', 'campaign_id']}],
) }}

with customer_touches as (
    select * from {{ ref('fct_campaign_touches') }}
    where person_kind = 'customer'
),

lead_touches as (
    select * from {{ ref('fct_campaign_touches') }}
    where person_kind = 'lead'
),

orders as (
    select * from {{ ref('fct_orders') }}
),

deals as (
    select * from {{ ref('fct_deals') }}
),

-- What reached a person before a conversion, not longer ago than the window.
touched_conversions as (
    select
        orders.tenant_id,
        'order' as conversion_kind,
        orders.order_id as conversion_id,
        touches.campaign_id,
        orders.customer_id as person_id,
        orders.ordered_at as converted_at,
        orders.currency,
        orders.revenue,
        touches.touched_at
    from orders
    inner join customer_touches as touches
        on
            orders.tenant_id = touches.tenant_id
            and orders.customer_id = touches.person_id
            and orders.ordered_at >= touches.touched_at
            and touches.touched_at > orders.ordered_at - interval '{{ 24 * var("attribution_window_days") }} hours'
    where
        orders.status <> 'cancelled'
        and {{ touched('orders.order_id') }}

    union all

    select
        deals.tenant_id,
        'deal' as conversion_kind,
        deals.deal_id as conversion_id,
        touches.campaign_id,
        deals.lead_id as person_id,
        deals.closed_at as converted_at,
        deals.currency,
        deals.won_amount as revenue,
        touches.touched_at
    from deals
    inner join lead_touches as touches
        on
            deals.tenant_id = touches.tenant_id
            and deals.lead_id = touches.person_id
            and deals.closed_at >= touches.touched_at
            and touches.touched_at > deals.closed_at - interval '{{ 24 * var("attribution_window_days") }} hours'
    where
        deals.status = 'won'
        and {{ touched('deals.deal_id') }}
),

by_campaign as (
    select
        tenant_id,
        conversion_kind,
        conversion_id,
        campaign_id,
        person_id,
        converted_at,
        currency,
        revenue,
        count(*)::integer as touches,
        min(touched_at) as first_touched_at,
        max(touched_at) as last_touched_at
    from touched_conversions
    group by
        tenant_id,
        conversion_kind,
        conversion_id,
        campaign_id,
        person_id,
        converted_at,
        currency,
        revenue
),

-- Of two campaigns at the same moment the one whose id comes first is the first, and the last.
final as (
    select
        tenant_id,
        conversion_kind,
        conversion_id,
        campaign_id,
        person_id,
        converted_at,
        {{ utc_date('converted_at') }} as converted_on,
        currency,
        revenue,
        touches,
        first_touched_at,
        last_touched_at,
        row_number() over (
            conversion order by first_touched_at, campaign_id collate "C"
        ) = 1 as is_first,
        row_number() over (
            conversion order by last_touched_at desc, campaign_id collate "C"
        ) = 1 as is_last,
        touches::numeric / sum(touches) over conversion as linear_share
    from by_campaign
    window conversion as (partition by tenant_id, conversion_kind, conversion_id)
)

select * from final
