"""Older versions of a payload, read as the newest.

Defines `upcast()` and the steps from one version of a type to the next. Add a step here when a type gets a version: a
pure function that keeps whatever it does not know. The log keeps what was sent; this is done on reading and on redrive.
A user's own types have no steps: each event of theirs is read in the version it was sent in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from analytics_pipelines.event_log.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Data: TypeAlias = Mapping[str, Any]
    Step: TypeAlias = Callable[[Data], dict[str, Any]]


def _experiment_started(data: Data) -> dict[str, Any]:
    """Spread the subjects evenly, as version 1 meant it."""
    return {**data, "variants": [{"variant": variant, "weight": 1} for variant in data["variants"]]}


UPCASTERS: dict[tuple[str, int], Step] = {("experiment_started", 1): _experiment_started}
"""The step from each version of a type to the next."""


def require_every_step(types: Iterable[tuple[str, int]], steps: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the newest version of each type that has more than one.

    Raises:
        ValueError: a version is left out, has no step to the next, or a step leads nowhere.
    """
    versions: dict[str, set[int]] = {}
    for event_type, version in types:
        versions.setdefault(event_type, set()).add(version)
    newest = {event_type: max(known) for event_type, known in versions.items()}
    needed = {(event_type, version) for event_type, last in newest.items() for version in range(1, last)}
    unknown = sorted(key for key in needed if key[1] not in versions[key[0]])
    if unknown:
        raise ValueError(f"versions left out of the catalog: {unknown}; versions are 1, 2, 3")
    if needed != set(steps):
        raise ValueError(
            f"steps missing: {sorted(needed - set(steps))}, steps that lead nowhere: {sorted(set(steps) - needed)}; "
            "each version of a type has one step to the next, in event_log/upcasting.py"
        )
    return {event_type: last for event_type, last in newest.items() if last > 1}


_NEWEST = require_every_step(SCHEMAS, UPCASTERS)

OUTDATED = frozenset(UPCASTERS)
"""The types and versions that are not the newest."""


def upcast(event_type: str, schema_version: int, data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the newest version of a type and a valid payload as that version has it.

    The payload itself is not changed. The same payload always gives the same result. A payload of the newest version,
    or of a type that has one version only, is returned as it is.
    """
    newest = _NEWEST.get(event_type)
    if newest is None:
        return schema_version, data
    while schema_version < newest:
        data = UPCASTERS[event_type, schema_version](data)
        schema_version += 1
    return schema_version, data
