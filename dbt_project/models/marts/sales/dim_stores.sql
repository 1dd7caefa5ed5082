{{ config(
    key=['store_id'],
    recompute='store_id',
    touched_by={'read_models.store_profile': 'store_id', 'marts.fct_orders': 'store_id'},
) }}

with stores as (
    select * from {{ ref('stg_stores') }}
    where {{ touched('store_id') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
    where
        store_id is not null
        and {{ touched('store_id') }}
),

by_currency as (
    select
        tenant_id,
        store_id,
        currency,
        count(*) filter (where status <> 'cancelled') as orders,
        coalesce(sum(revenue) filter (where status <> 'cancelled'), 0) as revenue,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
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
