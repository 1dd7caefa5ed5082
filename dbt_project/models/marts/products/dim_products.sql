{{ config(
    key=['product_id'],
    recompute='product_id',
    touched_by={'read_models.product_stock': 'product_id', 'marts.fct_order_lines': 'product_id'},
    indexes=[
        {'columns': ['tenant_id', 'department', 'category']},
        {'columns': ['tenant_id', 'stock_level'], 'where': 'is_low_stock'},
    ],
) }}

with products as (
    select * from {{ ref('stg_products') }}
    where {{ touched('product_id') }}
),

order_lines as (
    select * from {{ ref('fct_order_lines') }}
),

kept_lines as (
    select * from order_lines
    where not is_cancelled and {{ touched('order_lines.product_id') }}
),

by_currency as (
    select
        tenant_id,
        product_id,
        currency,
        count(*) as lines,
        sum(quantity) as quantity_sold,
        sum(revenue) as revenue,
        coalesce(sum(revenue) filter (where cost is not null), 0) as costed_revenue,
        coalesce(sum(cost), 0) as cost,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from kept_lines
    group by tenant_id, product_id, currency
),

-- Amounts are those in the currency of the last order; currencies are never added up.
sales as (
    select distinct on (tenant_id, product_id)
        tenant_id,
        product_id,
        currency,
        sum(lines) over products as lines,
        sum(quantity_sold) over products as quantity_sold,
        revenue,
        costed_revenue,
        cost,
        min(first_ordered_at) over products as first_ordered_at,
        last_ordered_at
    from by_currency
    window products as (partition by tenant_id, product_id)
    order by tenant_id asc, product_id asc, last_ordered_at desc, currency asc
),

-- A product's orders are its lines less those that repeat it within an order: half the work of counting distinct orders.
repeats_by_order as (
    select
        tenant_id,
        product_id,
        count(*) - 1 as repeats
    from kept_lines
    group by tenant_id, product_id, order_id
    having count(*) > 1
),

repeats as (
    select
        tenant_id,
        product_id,
        sum(repeats) as repeats
    from repeats_by_order
    group by tenant_id, product_id
),

-- A product may be sold before, or without, being added to the range: it has a row all the same. What was sold is no
-- stock: a level means something once units came in.
final as (
    select
        tenant_id,
        product_id,
        products.added_at is not null as is_in_range,
        products.name,
        products.department,
        products.category,
        products.brand,
        products.manufacturer_id,
        products.package_size,
        products.added_at,
        products.discontinued_at,
        products.price,
        products.price_currency,
        products.cost_price,
        products.cost_currency,
        case
            when products.price_currency = products.cost_currency then
                {{ ratio('products.price - products.cost_price', 'products.price') }}
        end as margin,
        case when products.units_received > 0 then products.stock_level end as stock_level,
        products.reorder_point,
        coalesce(
            products.discontinued_at is null
            and products.units_received > 0
            and products.stock_level < coalesce(products.reorder_point, {{ var('low_stock_below') }}),
            false
        ) as is_low_stock,
        (coalesce(sales.lines, 0) - coalesce(repeats.repeats, 0))::integer as orders,
        coalesce(sales.quantity_sold, 0) as quantity_sold,
        sales.currency,
        coalesce(sales.revenue, 0) as revenue,
        coalesce(sales.costed_revenue, 0) as costed_revenue,
        coalesce(sales.cost, 0) as cost,
        coalesce(sales.costed_revenue - sales.cost, 0) as profit,
        sales.first_ordered_at,
        sales.last_ordered_at
    from products
    full outer join sales using (tenant_id, product_id)
    left join repeats using (tenant_id, product_id)
)

select * from final
