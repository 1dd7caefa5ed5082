{{ config(
    key=['product_id'],
    recompute='product_id',
    touched_by={'read_models.product_stock': 'product_id', 'marts.fct_order_lines': 'product_id'},
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
    where status <> 'cancelled' and {{ touched('order_lines.product_id') }}
),

sales as (
    select
        tenant_id,
        product_id,
        count(*) as lines,
        sum(quantity) as quantity_sold,
        sum(revenue) as revenue,
        min(ordered_at) as first_ordered_at,
        max(ordered_at) as last_ordered_at
    from kept_lines
    group by tenant_id, product_id
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

-- A product may be sold before, or without, being added to the range: it has a row all the same.
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
        (coalesce(sales.lines, 0) - coalesce(repeats.repeats, 0))::integer as orders,
        coalesce(sales.quantity_sold, 0) as quantity_sold,
        coalesce(sales.revenue, 0) as revenue,
        sales.first_ordered_at,
        sales.last_ordered_at
    from products
    full outer join sales using (tenant_id, product_id)
    left join repeats using (tenant_id, product_id)
)

select * from final
