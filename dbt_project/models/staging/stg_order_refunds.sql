with events as (
    {{ events(['order_refunded']) }}
),

final as (
    select
        tenant_id,
        data ->> 'order_id' as order_id,
        (data ->> 'amount')::numeric as refunded_amount,
        occurred_at as refunded_at
    from events
)

select * from final
