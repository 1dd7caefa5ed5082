{{ config(
    key=['segment', 'currency'],
    recompute='segment',
    touched_by={'marts.dim_customers': 'segment'},
) }}

with customers as (
    select
        tenant_id,
        segment,
        -- ISO's code for no currency.
        coalesce(currency, 'XXX') as currency,
        is_high_value,
        orders,
        revenue,
        refunded_amount,
        lifetime_value
    from {{ ref('dim_customers') }}
    where {{ touched('segment') }}
),

final as (
    select
        tenant_id,
        segment,
        currency,
        count(*)::integer as customers,
        count(*) filter (where is_high_value)::integer as high_value_customers,
        sum(orders)::bigint as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(lifetime_value) as lifetime_value
    from customers
    group by tenant_id, segment, currency
)

select * from final
