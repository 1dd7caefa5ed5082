"""The edges of the graphs: the table `graph.edges`.

Defines which pairs make an edge, how close it is, and what bounds the size of a graph. Add a graph here as one more
insert, and its name to `networks.DIRECTED` if it is directed. All set work is SQL; no row travels through Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection

INTRODUCTIONS = "introductions"
CO_PURCHASE = "co_purchase"

MOST_BOUGHT_PRODUCTS = 1_000
"""How many products of a tenant take part in `co_purchase`: those in most orders. Pairs grow with the square."""

MINIMUM_ORDERS = 20
"""In how many orders two products must meet to be an edge; below that, chance is most of it."""

_INTRODUCTIONS = """
    insert into graph.edges (tenant_id, graph, source_id, target_id, weight, interactions, first_at, last_at)
    select tenant_id, %(graph)s, source_id, target_id, interactions, interactions, first_at, last_at
    from read_models.relationship_edges
    where kind = 'introduced' and source_id <> target_id
"""

# Numbers stand for the products, in the order of their ids: millions of pairs are grouped faster by integers than text.
_POPULAR_PRODUCTS = """
    create temporary table popular_products as
    select
        tenant_id,
        product_id,
        orders,
        row_number() over (order by tenant_id, product_id collate "C")::integer as number
    from (
        select
            tenant_id,
            product_id,
            orders,
            row_number() over (partition by tenant_id order by orders desc, product_id collate "C") as rank
        from marts.dim_products
        where orders >= %(minimum_orders)s
    ) as ranked
    where rank <= %(products)s
"""

_ORDER_PRODUCTS = """
    create temporary table order_products as
    select min(ordered_at) as ordered_at, array_agg(distinct number) as numbers
    from marts.fct_order_lines
    inner join popular_products using (tenant_id, product_id)
    where not is_cancelled
    group by tenant_id, order_id
"""

_CO_PURCHASE = """
    insert into graph.edges (tenant_id, graph, source_id, target_id, weight, interactions, first_at, last_at)
    with pairs as (
        select source, target, count(*) as orders, min(ordered_at) as first_at, max(ordered_at) as last_at
        from order_products, unnest(numbers) as source, unnest(numbers) as target
        where source < target
        group by source, target
        having count(*) >= %(minimum_orders)s
    )
    select
        source.tenant_id,
        %(graph)s,
        source.product_id,
        target.product_id,
        pairs.orders / sqrt(source.orders * target.orders::double precision),
        pairs.orders,
        pairs.first_at,
        pairs.last_at
    from pairs
    inner join popular_products as source on pairs.source = source.number
    inner join popular_products as target on pairs.target = target.number
"""


def refresh(connection: Connection) -> None:
    """Replace the edges of all graphs of all tenants.

    Cancelled orders were not bought; nobody introduces themselves.

    Args:
        connection: the session; everything happens in its transaction.
    """
    connection.execute("delete from graph.edges")
    connection.execute(_INTRODUCTIONS, {"graph": INTRODUCTIONS})
    connection.execute(_POPULAR_PRODUCTS, {"products": MOST_BOUGHT_PRODUCTS, "minimum_orders": MINIMUM_ORDERS})
    connection.execute("analyze popular_products")  # what the planner does not know it takes for large, and sorts
    connection.execute(_ORDER_PRODUCTS)
    connection.execute("analyze order_products")
    connection.execute(_CO_PURCHASE, {"graph": CO_PURCHASE, "minimum_orders": MINIMUM_ORDERS})
    connection.execute("drop table popular_products, order_products")
    connection.execute("analyze graph.edges")  # the checks that follow took 5 s on a plan for an empty table
