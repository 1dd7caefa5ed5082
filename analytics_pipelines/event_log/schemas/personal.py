"""What a JSON Schema says of people.

Defines `personal_fields()`. The marks are `x-personal: true` beside a field's type and, beside the fields,
`x-subject-field`: the field that says whom they tell of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import JsonValue


def personal_fields(schema: dict[str, Any]) -> tuple[str, tuple[str, ...]] | None:
    """Return the field that names the subject and those that are personal, sorted, or None when it names no subject.

    Raises:
        ValueError: a mark stands where it cannot be acted on.
    """
    subject = schema.get("x-subject-field")
    properties: dict[str, Any] = schema.get("properties", {})
    fields = tuple(name for name, value in properties.items() if _own_marks(value))
    if _marks(schema) != sum(_own_marks(value) for value in properties.values()):
        raise ValueError("x-personal is for the fields of the payload itself, not for those within them")
    if subject is None:
        if fields:
            raise ValueError(f"{', '.join(fields)} are personal, but x-subject-field does not say whose they are")
        return None
    if subject in fields or subject not in schema.get("required", ()) or _type(properties.get(subject)) != "string":
        raise ValueError(f"x-subject-field: {subject} must be a required text that is not itself personal")
    return subject, tuple(sorted(fields))


def _type(value: object) -> object:
    return value.get("type") if isinstance(value, dict) else None


def _own_marks(value: object) -> int:
    """Count the marks of a field itself: beside its type, or within the choice that makes it optional."""
    if not isinstance(value, dict):
        return 0
    choices: list[Any] = value.get("anyOf", [])
    return sum(isinstance(part, dict) and part.get("x-personal") is True for part in (value, *choices))


def _marks(schema: JsonValue) -> int:
    """Count all marks, however deep."""
    if isinstance(schema, dict):
        return (schema.get("x-personal") is True) + sum(_marks(value) for value in schema.values())
    return sum(_marks(value) for value in schema) if isinstance(schema, list) else 0
