with order_refunds as (
    select * from {{ source('read_models', 'order_refunds') }}
),

final as (
    select
        tenant_id,
        order_id,
        refunded_on::date as refunded_on,
        refunds,
        refunded_amount
    from order_refunds
)

select * from final
