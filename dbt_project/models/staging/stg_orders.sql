with events as (
    {{ events(['order_placed']) }}
),

orders as (
    select
        *,
        data ->> 'order_id' as order_id
    from events
),

final as (
    select distinct on (tenant_id, order_id)
        tenant_id,
        order_id,
        data ->> 'customer_id' as customer_id,
        data ->> 'store_id' as store_id,
        data ->> 'currency' as currency,
        data -> 'lines' as lines
    from orders
    order by tenant_id, order_id, {{ newest_first() }}
)

select * from final
