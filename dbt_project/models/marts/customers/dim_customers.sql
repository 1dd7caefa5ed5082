{{ config(
    key=['customer_id'],
    recompute='customer_id',
    touched_by={'read_models.customer_profile': 'customer_id', 'marts.fct_customer_months': 'customer_id'},
    as_of_day=true,
    indexes=[{'columns': ['tenant_id', 'segment', 'currency'], 'include': ['lifetime_value', 'orders']}],
) }}

with customers as (
    select * from {{ ref('stg_customers') }}
    where {{ touched('customer_id') }}
),

-- Recency is counted back from the day of the tenant's newest event, so that history is not old only because time has
-- passed. The days themselves are not shown: each row would be another one each day.
tenants as (
    select
        tenant_id,
        {{ utc_date(as_of_day('tenant_id')) }} as as_of_on
    from customers
    group by tenant_id
),

customer_months as (
    select * from {{ ref('fct_customer_months') }}
    where {{ touched('customer_id') }}
),

by_currency as (
    select
        tenant_id,
        customer_id,
        currency,
        sum(orders) as orders,
        sum(revenue) as revenue,
        sum(refunded_amount) as refunded_amount,
        sum(net_revenue) as lifetime_value,
        min(first_ordered_at) as first_ordered_at,
        max(last_ordered_at) as last_ordered_at
    from customer_months
    group by tenant_id, customer_id, currency
),

-- Amounts are those in the currency of most orders; currencies are never added up.
purchases as (
    select distinct on (tenant_id, customer_id)
        tenant_id,
        customer_id,
        currency,
        sum(orders) over customers as all_orders,
        revenue,
        refunded_amount,
        lifetime_value,
        min(first_ordered_at) over customers as first_of_all_at,
        max(last_ordered_at) over customers as last_of_all_at
    from by_currency
    window customers as (partition by tenant_id, customer_id)
    order by tenant_id asc, customer_id asc, orders desc, last_ordered_at desc, currency asc
),

measured as (
    select
        customers.*,
        purchases.currency,
        coalesce(purchases.all_orders, 0)::integer as orders,
        coalesce(purchases.revenue, 0) as revenue,
        coalesce(purchases.refunded_amount, 0) as refunded_amount,
        coalesce(purchases.lifetime_value, 0) as lifetime_value,
        purchases.first_of_all_at as first_ordered_at,
        purchases.last_of_all_at as last_ordered_at,
        tenants.as_of_on - {{ utc_date('purchases.first_of_all_at') }} as days_since_first_order,
        tenants.as_of_on - {{ utc_date('purchases.last_of_all_at') }} as days_since_last_order,
        tenants.as_of_on - {{ utc_date('customers.registered_at') }} as days_since_registration
    from customers
    inner join tenants
        on customers.tenant_id = tenants.tenant_id
    left join purchases
        on
            customers.tenant_id = purchases.tenant_id
            and customers.customer_id = purchases.customer_id
),

-- The rules, in this order. Somebody who never ordered is as quiet as the registration is old.
segmented as (
    select
        *,
        lifetime_value >= {{ threshold('high_value_from') }} as is_high_value,
        case
            when coalesce(days_since_last_order, days_since_registration) > {{ var('churned_after_days') }}
                then 'Churned'
            when coalesce(days_since_last_order, days_since_registration) > {{ var('at_risk_after_days') }}
                then 'At-Risk'
            when orders = 0 or days_since_first_order <= {{ var('new_within_days') }} then 'New'
            when lifetime_value >= {{ threshold('high_value_from') }} then 'Premium'
            else 'Regular'
        end as segment,
        case
            when orders > 0 then
                5 - width_bucket(days_since_last_order - 1, array{{ var('rfm_recency_days') }})
        end as recency_score,
        case
            when orders > 0 then
                1 + width_bucket(orders, array{{ var('rfm_frequency_orders') }})
        end as frequency_score,
        case
            when orders > 0 then
                1 + width_bucket(lifetime_value, {{ threshold('rfm_monetary_values', type='numeric[]') }})
        end as monetary_score
    from measured
),

final as (
    select
        tenant_id,
        customer_id,
        registered_at,
        age_band,
        income_band,
        home_ownership,
        marital_status,
        household_size,
        household_composition,
        children,
        region,
        sales_representative_id,
        orders,
        currency,
        revenue,
        refunded_amount,
        lifetime_value,
        first_ordered_at,
        last_ordered_at,
        segment,
        segment = 'At-Risk' as is_at_risk,
        is_high_value,
        recency_score,
        frequency_score,
        monetary_score,
        recency_score * 100 + frequency_score * 10 + monetary_score as rfm_score,
        coupons_redeemed::integer as coupons_redeemed
    from segmented
)

select * from final
