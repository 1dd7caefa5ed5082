"""Which fields of which events are personal, read off the payloads.

Defines `PERSONAL`, those of the built-in types by event type and schema version (`Catalog.personal` has a user's own,
too), and how such a payload is read before it is sealed. A field becomes personal by its mark in `schemas/`; nothing is
to be added here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

import orjson
from pydantic import BaseModel

from analytics_pipelines.event_log.encryption import SEALED
from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.event_log.schemas.payload import Personal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_pipelines.event_log.schemas.payload import Derived, Payload

SAFE_DIGITS = 18


@dataclass(frozen=True, slots=True)
class PersonalFields:
    """What is personal in one version of an event type.

    Attributes:
        subject_field: the payload's field that says whose values they are.
        kind: what such a subject is: a lead, a customer.
        fields: the personal fields, sorted.
        derived: fields computed where they are absent, each from a personal one.
    """

    subject_field: str
    kind: str
    fields: tuple[str, ...]
    derived: Derived

    def read(self, data: Mapping[str, Any] | str) -> dict[str, Any] | None:
        """Return a payload as a dict with derived fields, or None where that is none: its schema says why.

        Raises:
            ValueError: the sender poses as the log and sends a sealed value.
        """
        sent = _parse(data) if isinstance(data, str) else dict(data)
        if sent is None:
            return None
        for name, value in sent.items():
            if isinstance(value, dict) and SEALED in value:
                raise ValueError(f"data.{name}: {SEALED} is the log's own word; send the value itself")
        for name, (source, derive) in self.derived.items():
            value = sent.get(source)
            if name not in sent and isinstance(value, str):
                sent[name] = derive(value)
        return sent

    def values(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Return the personal values that a payload holds."""
        return {name: value for name in self.fields if (value := sent.get(name)) is not None}

    def subject(self, sent: Mapping[str, Any]) -> str | None:
        """Name the subject of a payload like its stream, `lead-42`: another kind's 42 is another person."""
        identifier = sent.get(self.subject_field)
        return f"{self.kind}-{identifier}" if isinstance(identifier, str) and identifier else None


def kind_of(subject_field: str) -> str:
    """Name what a field such as `lead_id` identifies."""
    return subject_field.removesuffix("_id")


def personal_fields(payload: type[Payload]) -> PersonalFields | None:
    """Return what is personal in a payload, or None.

    Raises:
        TypeError: it has personal fields and does not say whose, or says it in a field that is personal itself.
    """
    fields = tuple(
        sorted(
            name
            for name, field in payload.model_fields.items()
            if any(isinstance(mark, Personal) for mark in field.metadata) or _is_marked(field.annotation)
        )
    )
    if not fields:
        return None
    if payload.subject_field not in payload.model_fields or payload.subject_field in fields:
        raise TypeError(f"{payload.__name__}: {', '.join(fields)} are personal; name in subject_field whose they are")
    return PersonalFields(payload.subject_field, kind_of(payload.subject_field), fields, payload.derived)


def _is_marked(annotation: object) -> bool:
    """Tell whether a type holds a mark anywhere, also within another payload: the whole field is personal then."""
    if isinstance(annotation, Personal):
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(
            any(isinstance(mark, Personal) for mark in field.metadata) or _is_marked(field.annotation)
            for field in annotation.model_fields.values()
        )
    return any(_is_marked(part) for part in get_args(annotation))


_EXACT = frozenset({str, int, bool, type(None)})


def _parse(text: str) -> dict[str, Any] | None:
    # Most payloads are flat and without fractions: then as many colons as keys mean that none came twice, and the fast
    # reader has changed nothing.
    with suppress(ValueError):
        fast = orjson.loads(text)
        flat: dict[str, Any] = fast if isinstance(fast, dict) else {}
        if flat and text.count(":") == len(flat) and _EXACT.issuperset(map(type, flat.values())):
            return flat
    try:
        sent = _DECODER.decode(text)
    except (ValueError, RecursionError, ArithmeticError):
        return None
    return sent if isinstance(sent, dict) else None


def _whole(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= SAFE_DIGITS else Decimal(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(unique := dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")  # the validation of the text as sent says which
    return unique


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=Decimal, parse_constant=_refuse_constant
)

PERSONAL: dict[tuple[str, int], PersonalFields] = {
    key: fields for key, payload in SCHEMAS.items() if (fields := personal_fields(payload)) is not None
}


def personal_names(event_types: tuple[str, ...] | list[str] | None = None) -> frozenset[str]:
    """Return the names of all fields that are personal in any version of these event types; of all unless given."""
    return frozenset(
        name
        for (event_type, _), fields in PERSONAL.items()
        if event_types is None or event_type in event_types
        for name in fields.fields
    )
