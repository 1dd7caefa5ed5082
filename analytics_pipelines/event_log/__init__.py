"""The event log: the one thing that cannot be recomputed.

Public: `EventStore`, `NewEvent`, `Event`, `Gap`. The promises of the log are kept in `store.py` and in migration 0002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_pipelines.event_log.event import BatchResult, Event, Gap, Malformed, NewEvent

if TYPE_CHECKING:
    from analytics_pipelines.event_log.store import ConcurrencyError, EventStore, InvalidEventError

__all__ = [
    "BatchResult",
    "ConcurrencyError",
    "Event",
    "EventStore",
    "Gap",
    "InvalidEventError",
    "Malformed",
    "NewEvent",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type of a module attribute is its own
    """Import the store when it is asked for: psycopg and pydantic cost half a second."""
    if name in {"ConcurrencyError", "EventStore", "InvalidEventError"}:
        from analytics_pipelines.event_log import store

        return getattr(store, name)
    raise AttributeError(name)
