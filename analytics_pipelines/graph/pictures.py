"""Pictures of graphs for the catalog.

Defines which part of a graph is worth a picture, and how it looks. No score is computed here.
"""

from __future__ import annotations

import base64
import io
import textwrap
from typing import TYPE_CHECKING

import networkx as nx
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from analytics_pipelines.graph import networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from analytics_pipelines.graph.networks import Network

PICTURES = 2
"""How many graphs are drawn, the largest: metadata is kept with every run."""

MEMBERS = 8
"""How many nodes stand for a community."""

PALETTE = 64
"""Colours in the file; with all of them it is four times the size."""

_COLOURS = ("#4269d0", "#d98e04", "#e4572e", "#3ca951", "#8e5bd6", "#2a9d8f")
_INK = "#2b2f36"
_LINE = "#b4bac4"


def markdown(graphs: Sequence[tuple[Network, list[list[str]]]]) -> str:
    """Draw the largest graphs, each given with its communities, as images inside a markdown text."""
    largest = sorted(graphs, key=lambda each: -len(each[0].labels))[:PICTURES]
    return "\n\n".join(
        f"![{graph.graph} of {graph.tenant_id}](data:image/png;base64,{base64.b64encode(png(graph, found)).decode()})"
        for graph, found in largest
    )


def png(graph: Network, found: list[list[str]]) -> bytes:
    """Draw a graph's largest communities by their strongest members.

    The area of a node is the weight of its edges within the community, a line's width that of the edge.
    """
    figure = Figure(figsize=(9.6, 6.2), dpi=96, facecolor="white")
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.89, wspace=0.02, hspace=0.1)
    figure.suptitle(
        f"{graph.tenant_id}, {graph.graph.replace('_', ' ')}: the largest of {len(found):,} communities "
        f"among {len(graph.labels):,} nodes, by their strongest members",
        fontsize=11, color=_INK, x=0.012, ha="left",
    )  # fmt: skip
    panels = figure.subplots(2, len(_COLOURS) // 2).flat
    for number, (axes, colour) in enumerate(zip(panels, _COLOURS, strict=True), start=1):
        axes.set_axis_off()
        if number <= len(found):
            members = found[number - 1]
            axes.set_title(f"{number}: {len(members):,} nodes", fontsize=9.5, color=colour, weight="bold")
            _draw(axes, strongest_members(graph.network, members), graph.labels, colour)
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(PALETTE).save(small, format="png")
    return small.getvalue()


def strongest_members(network: nx.Graph[str], members: Sequence[str]) -> nx.Graph[str]:
    """Take the part of a community that hangs together most.

    It begins with the node that has most weight on its edges to members, and takes in, one by one, the member with the
    strongest edge to those already there.
    """
    community = networks.undirected(network.subgraph(members))
    strength = dict(community.degree(weight="weight"))
    chosen = [min(community, key=lambda node: (-strength[node], node))]
    while len(chosen) < MEMBERS:
        edges: list[tuple[float, str]] = [
            (-weight, node) for _, node, weight in community.edges(chosen, data="weight") if node not in chosen
        ]
        if not edges:
            break
        chosen.append(min(edges)[1])
    part = network.subgraph(chosen)
    return networks.build(part, part.edges(data="weight"), directed=network.is_directed())


def _draw(axes: Axes, part: nx.Graph[str], labels: dict[str, str], colour: str) -> None:
    strength = dict(part.degree(weight="weight"))
    most = max(strength.values()) or 1.0
    sizes = [90 + 420 * strength[node] / most for node in part]
    weights: list[float] = [weight for _, _, weight in part.edges(data="weight")]
    places = nx.kamada_kawai_layout(nx.Graph(part), weight=None)
    widths = [0.5 + 2.5 * weight / max(weights) for weight in weights]
    nx.draw_networkx_edges(part, places, ax=axes, edge_color=_LINE, width=widths, node_size=sizes)
    nx.draw_networkx_nodes(part, places, ax=axes, node_color=colour, node_size=sizes, edgecolors="white")
    for node, size in zip(part, sizes, strict=True):
        axes.annotate(
            textwrap.fill(labels[node].capitalize(), 18, max_lines=2, placeholder="…", break_long_words=False),
            (places[node][0], places[node][1]),
            xytext=(0, -3 - size**0.5 / 2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            linespacing=0.95,
            color=_INK,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.margins(x=0.22, y=0.2)
