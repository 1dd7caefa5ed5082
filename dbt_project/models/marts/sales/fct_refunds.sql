{{ config(
    key=['order_id', 'refunded_on'],
    recompute='order_id',
    touched_by={'read_models.order_refunds': 'order_id', 'marts.fct_orders': 'order_id'},
    indexes=[{'columns': ['tenant_id', 'refunded_on']}],
) }}

with refunds as (
    select * from {{ ref('stg_order_refunds') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

final as (
    select
        refunds.tenant_id,
        refunds.order_id,
        refunds.refunded_on,
        orders.customer_id,
        orders.currency,
        orders.status = 'cancelled' as is_cancelled,
        refunds.refunds::integer as refunds,
        refunds.refunded_amount,
        case when orders.costed_revenue > 0 then refunds.refunded_amount else 0 end as costed_refunded_amount
    from refunds
    inner join orders
        on
            refunds.tenant_id = orders.tenant_id
            and refunds.order_id = orders.order_id
    where {{ touched('refunds.order_id') }}
)

select * from final
