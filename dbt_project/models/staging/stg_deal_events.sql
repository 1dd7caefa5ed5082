with events as (
    {{ events(['deal_opened', 'deal_won', 'deal_lost']) }}
),

final as (
    select
        tenant_id,
        source,
        event_id,
        event_type,
        sequence,
        occurred_at,
        data ->> 'deal_id' as deal_id,
        data ->> 'lead_id' as lead_id,
        data ->> 'sales_representative_id' as sales_representative_id,
        (data ->> 'amount')::numeric as amount,
        data ->> 'currency' as currency,
        data ->> 'reason' as lost_reason
    from events
)

select * from final
