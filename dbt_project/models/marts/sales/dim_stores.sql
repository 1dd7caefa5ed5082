{{ config(
    key=['store_id'],
    recompute='store_id',
    touched_by={'read_models.store_profile': 'store_id', 'marts.fct_store_months': 'store_id'},
) }}

with stores as (
    select * from {{ ref('stg_stores') }}
    where {{ touched('store_id') }}
),

months as (
    select * from {{ ref('fct_store_months') }}
    where {{ touched('store_id') }}
),

by_currency as (
    select
        tenant_id,
        store_id,
        currency,
        sum(orders) as orders,
        sum(revenue) as revenue,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at
    from months
    group by tenant_id, store_id, currency
),

-- Amounts are those in the currency that the store sold in last.
sales as (
    select distinct on (tenant_id, store_id)
        tenant_id,
        store_id,
        currency,
        revenue,
        (sum(orders) over stores)::integer as orders,
        min(first_ordered_at) over stores as first_ordered_at,
        last_ordered_at
    from by_currency
    window stores as (partition by tenant_id, store_id)
    order by tenant_id asc, store_id asc, last_ordered_at desc, currency asc
),

-- An order may name a store that was never opened: it has a row all the same.
final as (
    select
        tenant_id,
        store_id,
        stores.name,
        stores.region,
        stores.opened_at,
        case
            when stores.last_closed_at >= stores.last_opened_at or stores.last_opened_at is null
                then stores.last_closed_at
        end as closed_at,
        coalesce(sales.orders, 0) as orders,
        sales.currency,
        coalesce(sales.revenue, 0) as revenue,
        sales.first_ordered_at,
        sales.last_ordered_at
    from stores
    full outer join sales using (tenant_id, store_id)
)

select * from final
