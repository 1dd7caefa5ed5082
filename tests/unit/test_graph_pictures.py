"""Pictures of graphs: what they show, and that they stay small."""

from __future__ import annotations

from analytics_pipelines.graph import networks, pictures

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_strongest_members_hang_together() -> None:
    """It begins at the heaviest node and grows along the strongest edges, so that no node in it stands alone."""
    chain = [(f"n{number:02d}", f"n{number + 1:02d}", 10.0 - number) for number in range(9)]
    lonely = [("x", "y", 8.0)]
    nodes = {node for edge in chain + lonely for node in edge[:2]}

    part = pictures.strongest_members(networks.build(nodes, chain + lonely, directed=False), sorted(nodes))

    assert list(part) == [f"n{number:02d}" for number in range(pictures.MEMBERS)]
    assert part.number_of_edges() == pictures.MEMBERS - 1


def test_a_picture_is_an_image_inside_markdown_and_small() -> None:
    """Directed and undirected graphs are drawn, one community is enough, and the text stays below 150 kB."""
    edges = [(f"n{source}", f"n{target}", 1.0) for source in range(12) for target in range(source)]
    nodes = {node for edge in edges for node in edge[:2]}
    for directed in (True, False):
        graph = networks.Network(
            "t", "g", networks.build(nodes, edges, directed=directed), {node: node for node in nodes}
        )

        assert pictures.png(graph, [sorted(nodes)]).startswith(PNG)
        assert len(pictures.markdown([(graph, [sorted(nodes)])])) < 150_000


def test_no_graph_gives_an_empty_text() -> None:
    """A platform without events has no graphs; its assets are built all the same."""
    assert pictures.markdown([]) == ""
