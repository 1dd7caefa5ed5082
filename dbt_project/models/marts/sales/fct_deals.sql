with deal_events as (
    select * from {{ ref('stg_deal_events') }}
),

opened as (
    select distinct on (tenant_id, deal_id)
        tenant_id,
        deal_id,
        lead_id,
        sales_representative_id,
        amount,
        currency,
        occurred_at as opened_at
    from deal_events
    where event_type = 'deal_opened'
    order by tenant_id, deal_id, {{ newest_first() }}
),

-- A deal can be lost and won later on; what was said last holds.
closed as (
    select distinct on (tenant_id, deal_id)
        tenant_id,
        deal_id,
        lead_id,
        case event_type when 'deal_won' then 'won' else 'lost' end as status,
        amount,
        currency,
        lost_reason,
        occurred_at as closed_at
    from deal_events
    where event_type in ('deal_won', 'deal_lost')
    order by tenant_id, deal_id, {{ newest_first() }}
),

final as (
    select
        tenant_id,
        deal_id,
        coalesce(opened.lead_id, closed.lead_id) as lead_id,
        opened.sales_representative_id,
        coalesce(closed.status, 'open') as status,
        opened.opened_at,
        closed.closed_at,
        {{ utc_date('closed.closed_at') }} as closed_on,
        opened.amount as opened_amount,
        case when closed.status = 'won' then closed.amount end as won_amount,
        coalesce(closed.currency, opened.currency) as currency,
        closed.lost_reason
    from opened
    full outer join closed using (tenant_id, deal_id)
)

select * from final
