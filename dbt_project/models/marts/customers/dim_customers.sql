{{ config(
    key=['customer_id'],
    recompute='customer_id',
    touched_by={'read_models.customer_profile': 'customer_id', 'marts.fct_orders': 'customer_id'},
    as_of_day=true,
) }}

with customers as (
    select * from {{ ref('stg_customers') }}
    where {{ touched('customer_id') }}
),

orders as (
    select * from {{ ref('fct_orders') }}
),

-- Recency is counted back from the day of the tenant's newest event, so that history is not old only because time has passed.
tenants as (
    select
        tenant_id,
        {{ as_of_day('tenant_id') }} as as_of
    from customers
    group by tenant_id
),

purchases as (
    select
        tenant_id,
        customer_id,
        count(*)::integer as orders,
        sum(revenue) as revenue,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from orders
    where status <> 'cancelled' and {{ touched('orders.customer_id') }}
    group by tenant_id, customer_id
),

final as (
    select
        customers.tenant_id,
        customers.customer_id,
        customers.registered_at,
        customers.age_band,
        customers.income_band,
        customers.home_ownership,
        customers.marital_status,
        customers.household_size,
        customers.household_composition,
        customers.children,
        coalesce(purchases.orders, 0) as orders,
        coalesce(purchases.revenue, 0) as revenue,
        purchases.first_ordered_at,
        purchases.last_ordered_at,
        {{ utc_date('tenants.as_of') }} - {{ utc_date('purchases.last_ordered_at') }} as days_since_last_order,
        customers.coupons_redeemed::integer as coupons_redeemed,
        tenants.as_of
    from customers
    inner join tenants
        on customers.tenant_id = tenants.tenant_id
    left join purchases
        on
            customers.tenant_id = purchases.tenant_id
            and customers.customer_id = purchases.customer_id
)

select * from final
