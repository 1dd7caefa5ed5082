{{ config(
    key=['order_id', 'refunded_on'],
    recompute='order_id',
    touched_by={'read_models.order_refunds': 'order_id', 'read_models.order_contents': 'order_id'},
) }}

with refunds as (
    select * from {{ ref('stg_order_refunds') }}
),

orders as (
    select * from {{ ref('stg_orders') }}
),

final as (
    select
        refunds.tenant_id,
        refunds.order_id,
        refunds.refunded_on,
        orders.customer_id,
        orders.currency,
        refunds.refunds::integer as refunds,
        refunds.refunded_amount
    from refunds
    inner join orders
        on
            refunds.tenant_id = orders.tenant_id
            and refunds.order_id = orders.order_id
    where {{ touched('refunds.order_id') }}
)

select * from final
