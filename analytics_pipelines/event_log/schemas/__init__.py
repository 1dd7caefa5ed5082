"""The catalog of event types: which payload each type and version carries.

Defines `SCHEMAS`, by event type and schema version, and `DOMAINS`. A type exists when it stands here; its module holds
its meaning. A user's own types, which have a JSON Schema instead of a class, stand in `event_log.catalog`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from analytics_pipelines.event_log.schemas import app, crm, people, sagas, scoring, shop

if TYPE_CHECKING:
    from analytics_pipelines.event_log.schemas.payload import Payload

DOMAINS = {"crm": crm, "shop": shop, "app": app, "scoring": scoring, "sagas": sagas, "people": people}


def type_and_version(name: str) -> tuple[str, int]:
    """Return the event type and schema version that a payload's class name stands for: `LeadScoredV2` is version 2."""
    parts = re.fullmatch(r"([A-Za-z]+?)(?:V([0-9]+))?", name)
    if parts is None:
        raise ValueError(f"{name}: a payload is named by its event, such as LeadScored or LeadScoredV2")
    words, version = parts.groups(default="1")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", words).lower(), int(version)


SCHEMAS: dict[tuple[str, int], type[Payload]] = {
    type_and_version(payload.__name__): payload for domain in DOMAINS.values() for payload in domain.PAYLOADS
}

VALIDATORS = {key: payload.__pydantic_validator__ for key, payload in SCHEMAS.items()}
