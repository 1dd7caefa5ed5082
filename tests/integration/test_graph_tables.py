"""The graph's tables, made from the tables that the graph reads."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from analytics_pipelines.graph import edges, networks, nodes, scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
OrderLine = tuple[str, str, str, datetime, bool]
Introduction = tuple[str, str, str, datetime]


@pytest.fixture
def connection(database: ConnectionPool) -> Iterator[Connection]:
    """A session to a database that has the tables the graph reads, empty."""
    with database.connection() as connection:
        connection.execute("""
            create table read_models.relationship_edges (tenant_id text, source_id text, target_id text, kind text,
                interactions bigint, first_at timestamptz, last_at timestamptz);
            create table marts.fct_order_lines
                (tenant_id text, order_id text, product_id text, ordered_at timestamptz, is_cancelled boolean);
            create table marts.dim_products (tenant_id text, product_id text, name text, orders integer);
        """)
        yield connection


def fill(connection: Connection, order_lines: Sequence[OrderLine], introductions: Sequence[Introduction] = ()) -> None:
    """Fill the tables, row by row in the order given, with a dimension that agrees with the lines."""
    with connection.cursor() as cursor:
        cursor.execute("truncate read_models.relationship_edges, marts.fct_order_lines, marts.dim_products")
        cursor.executemany("insert into marts.fct_order_lines values (%s, %s, %s, %s, %s)", order_lines)
        cursor.execute(
            "create temporary table introductions (tenant_id text, source text, target text, at timestamptz)"
        )
        cursor.executemany("insert into introductions values (%s, %s, %s, %s)", introductions)
        cursor.execute("""
            insert into read_models.relationship_edges
            select tenant_id, source, target, kind, count(*), min(at), max(at)
            from introductions, unnest(array['introduced', 'wrote_to']) as kind
            group by tenant_id, source, target, kind;
            drop table introductions
        """)
        cursor.execute("""
            insert into marts.dim_products
            select tenant_id, product_id, 'Name of ' || product_id,
                count(distinct order_id) filter (where not is_cancelled)
            from marts.fct_order_lines group by tenant_id, product_id
        """)


def build(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Build the four tables and return their rows, ordered."""
    edges.refresh(connection)
    nodes.refresh(connection)
    graphs = list(networks.read(connection))
    scores.replace_centralities(connection, graphs)
    scores.replace_communities(connection, [(graph, scores.communities(graph.network)) for graph in graphs])
    return {
        table: connection.execute(f"select * from graph.{table} order by 1, 2, 3, 4").fetchall()
        for table in ("edges", "nodes", "centralities", "communities")
    }


def orders(
    tenant: str, products: Sequence[str], count: int, name: str, *, is_cancelled: bool = False
) -> list[OrderLine]:
    """Make so many orders, an hour apart, that each hold these products."""
    return [
        (tenant, f"{name}-{number}", product, START + timedelta(hours=number), is_cancelled)
        for number in range(count)
        for product in products
    ]


def test_introductions_become_directed_edges(connection: Connection) -> None:
    """An edge goes from who introduced to who was introduced and counts how often; nobody introduces themselves."""
    later = START + timedelta(days=2)
    there, back, oneself = ("t", "a", "b"), ("t", "b", "a"), ("t", "a", "a")
    fill(connection, [], [(*there, later), (*there, START), (*back, START), (*oneself, START)])

    assert build(connection)["edges"] == [
        ("t", "introductions", "a", "b", 2.0, 2, START, later),
        ("t", "introductions", "b", "a", 1.0, 1, START, START),
    ]


def test_products_that_meet_often_enough_are_an_edge(connection: Connection) -> None:
    """20 common orders make an edge, 19 do not; its weight is how many of either's orders are common ones."""
    together = orders("t", ["milk", "bread"], 20, "both") + orders("t", ["milk", "tea"], 19, "seldom")
    fill(connection, together + orders("t", ["milk"], 60, "alone"))

    (edge,) = build(connection)["edges"]

    assert edge[:4] == ("t", "co_purchase", "bread", "milk")
    assert edge[4] == pytest.approx(20 / (20 * 99) ** 0.5)
    assert edge[5:] == (20, START, START + timedelta(hours=19))


def test_cancelled_orders_and_repeated_lines_do_not_count(connection: Connection) -> None:
    """What was cancelled was not bought, and two lines of a product in an order are one purchase."""
    fill(
        connection,
        orders("t", ["a", "b"], 19, "kept")
        + orders("t", ["a", "b"], 5, "cancelled", is_cancelled=True)
        + orders("t", ["a", "b", "b"], 1, "repeated"),
    )

    (edge,) = build(connection)["edges"]

    assert edge[4:6] == (1.0, 20)


def test_tenants_do_not_mix(connection: Connection) -> None:
    """The same ids of orders, products and leads in another tenant are others, and each graph has a PageRank of 1."""
    counts = {"one": 21, "two": 25, "three": 15}
    lines = [line for tenant, count in counts.items() for line in orders(tenant, ["a", "b"], count, "order")]
    fill(connection, lines, [("one", "a", "b", START), ("two", "b", "c", START)])

    built = build(connection)

    assert [row[:6] for row in built["edges"]] == [
        ("one", "co_purchase", "a", "b", 1.0, 21),
        ("one", "introductions", "a", "b", 1.0, 1),
        ("two", "co_purchase", "a", "b", 1.0, 25),
        ("two", "introductions", "b", "c", 1.0, 1),
    ]
    sums = connection.execute("select sum(pagerank) from graph.centralities group by tenant_id, graph").fetchall()
    assert [row[0] for row in sums] == pytest.approx([1.0] * 4, abs=1e-9)


def test_only_the_most_bought_products_take_part(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is per tenant and by orders; of products in as many orders, the smaller id stays."""
    monkeypatch.setattr(edges, "MOST_BOUGHT_PRODUCTS", 2)
    one = orders("t", ["c", "b", "a"], 30, "x") + orders("t", ["c"], 1, "y")
    fill(connection, one + orders("u", ["b", "d"], 20, "z"))

    assert [row[:4] for row in build(connection)["edges"]] == [
        ("t", "co_purchase", "a", "c"),
        ("u", "co_purchase", "b", "d"),
    ]


def test_nodes_are_the_ends_of_edges_and_have_names(connection: Connection) -> None:
    """A product is called by its name, a lead by its id; what has no edge is no node; times span all edges."""
    later = START + timedelta(days=9)
    lines = orders("t", ["a", "b"], 20, "x") + orders("t", ["c"], 20, "y")
    fill(connection, lines, [("t", "a", "z", START), ("t", "z", "k", later)])

    assert build(connection)["nodes"] == [
        ("t", "co_purchase", "a", "Name of a", START, START + timedelta(hours=19)),
        ("t", "co_purchase", "b", "Name of b", START, START + timedelta(hours=19)),
        ("t", "introductions", "a", "a", START, START),
        ("t", "introductions", "k", "k", later, later),
        ("t", "introductions", "z", "z", START, later),
    ]


def test_any_order_of_arrival_gives_the_same_tables(connection: Connection) -> None:
    """Rows that were written in another order give the same edges, nodes, scores and communities, byte for byte."""
    chance = random.Random(3)
    products = [f"p{number}" for number in range(30)]
    lines = [
        ("t", f"order-{number}", product, START + timedelta(minutes=number), False)
        for number in range(400)
        for product in chance.sample(products[number % 3 * 10 : number % 3 * 10 + 12], 5)
    ]
    introductions = [
        ("t", f"lead-{chance.randrange(60)}", f"lead-{chance.randrange(60)}", START + timedelta(minutes=number))
        for number in range(200)
    ]
    fill(connection, lines, introductions)
    expected = build(connection)
    assert min(map(len, expected.values())) > 50

    for _ in range(2):
        chance.shuffle(lines)
        chance.shuffle(introductions)
        fill(connection, lines, introductions)
        assert build(connection) == expected


def test_nothing_in_gives_nothing_out(connection: Connection) -> None:
    """A platform without events has empty graphs, and what was there before is gone."""
    fill(connection, orders("t", ["a", "b"], 20, "x"))
    build(connection)
    fill(connection, [])

    assert build(connection) == {"edges": [], "nodes": [], "centralities": [], "communities": []}
