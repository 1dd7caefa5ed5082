"""Events about people as such.

Defines the payload (`data`) of each event type, version 1. Only the platform itself writes these.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from analytics_pipelines.event_log.schemas.payload import Payload


class SubjectErased(Payload):
    """A person was erased: their personal values cannot be read any more. Stream: `erasure-<erasure_id>`."""

    erasure_id: str
    subject: Annotated[str, Field(min_length=1, max_length=200)]


PAYLOADS: tuple[type[Payload], ...] = (SubjectErased,)
