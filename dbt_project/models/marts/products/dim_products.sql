{{ config(
    key=['product_id'],
    recompute='product_id',
    touched_by={'read_models.product_stock': 'product_id', 'marts.fct_product_sales': 'product_id'},
) }}

with products as (
    select * from {{ ref('stg_products') }}
    where {{ touched('product_id') }}
),

product_sales as (
    select * from {{ ref('fct_product_sales') }}
    where {{ touched('product_id') }}
),

-- Amounts are those in the currency of most orders; currencies are never added up.
sales as (
    select distinct on (tenant_id, product_id)
        tenant_id,
        product_id,
        currency,
        sum(orders) over products as all_orders,
        sum(quantity_sold) over products as all_quantity_sold,
        revenue,
        costed_revenue,
        cost,
        profit,
        min(first_ordered_at) over products as first_of_all_at,
        max(last_ordered_at) over products as last_of_all_at
    from product_sales
    window products as (partition by tenant_id, product_id)
    order by tenant_id asc, product_id asc, orders desc, last_ordered_at desc, currency asc
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
        coalesce(sales.all_orders, 0)::integer as orders,
        coalesce(sales.all_quantity_sold, 0) as quantity_sold,
        sales.currency,
        coalesce(sales.revenue, 0) as revenue,
        coalesce(sales.costed_revenue, 0) as costed_revenue,
        coalesce(sales.cost, 0) as cost,
        coalesce(sales.profit, 0) as profit,
        sales.first_of_all_at as first_ordered_at,
        sales.last_of_all_at as last_ordered_at
    from products
    full outer join sales using (tenant_id, product_id)
)

select * from final
