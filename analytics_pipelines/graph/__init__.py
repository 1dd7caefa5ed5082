"""The relationship graph: who introduced whom, what is bought together, and the scores that follow from it.

Two graphs stand in the same four tables: `introductions` (directed) and `co_purchase` (undirected). `edges.py` and
`nodes.py` make them in SQL, `networks.py` reads them into networkx, `scores.py` computes what SQL cannot. Add a graph
as one more insert in `edges.py`, a score as a function in `scores.py`. Features made of scores belong into `features`.
"""
