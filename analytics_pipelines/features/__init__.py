"""Features: what is known of a lead or a customer, declared once, offline in Postgres and online in Redis.

Public: `FeatureStore`. A feature is declared in `registry.py`; `offline.py` computes the tables `features.<group>`,
`store.py` publishes them to Redis and reads both. What is aggregated for dashboards belongs into the warehouse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics_pipelines.features.store import Difference, FeatureRow, FeatureStore

__all__ = ["Difference", "FeatureRow", "FeatureStore"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of a module attribute is its own
    """Import the store when it is asked for: the command line and the code location load without psycopg."""
    if name in __all__:
        from analytics_pipelines.features import store

        return getattr(store, name)
    raise AttributeError(name)
