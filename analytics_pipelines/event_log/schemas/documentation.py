"""The page that lists the event types.

Defines `page()`, the text of docs/events.md, made from the JSON Schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_pipelines.event_log.schemas import DOMAINS, type_and_version
from analytics_pipelines.event_log.schemas.json_schema import json_schema
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PAGE = PROJECT_FOLDER / "docs" / "events.md"

_HEAD = """\
# Event types

Made from the catalog by `pipelines events schemas document`; do not edit. Each type and version also stands as a JSON
Schema in `analytics_pipelines/event_log/schemas/json/`. Types of your own: put a JSON Schema (2020-12) named
`<type>.v<version>.json` into the folder `schemas` of the state folder (`PIPELINES_HOME`).

A field with a `?` may be left out. A personal field tells something about the person whom the subject field names.
Fields that a type does not list are kept. Events are stored in the version they were sent in and read in the newest.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(line for domain in DOMAINS.values() for line in _domain(domain))])


def _domain(domain: ModuleType) -> Iterator[str]:
    keys: dict[str, list[int]] = {}
    for payload in domain.PAYLOADS:
        event_type, version = type_and_version(payload.__name__)
        keys.setdefault(event_type, []).append(version)
    title, _, rest = (domain.__doc__ or "").partition("\n")
    del rest
    yield f"## {title.rstrip('.')}\n"
    yield "| type | versions | stream | what happened |"
    yield "|---|---|---|---|"
    for event_type, versions in keys.items():
        schema = json_schema(event_type, max(versions))
        numbers = ", ".join(str(version) for version in sorted(versions))
        yield f"| [{event_type}](#{event_type}) | {numbers} | `{schema['x-stream']}` | {_cell(schema['description'])} |"
    yield ""
    for event_type, versions in keys.items():
        yield f"### {event_type}\n"
        for version in sorted(versions, reverse=True):
            yield from _type(json_schema(event_type, version), version if len(versions) > 1 else None)


def _type(schema: dict[str, Any], version: int | None) -> Iterator[str]:
    named = "" if version is None else f"Version {version}. "
    subject = f" Subject: `{schema['x-subject-field']}`." if "x-subject-field" in schema else ""
    yield f"{named}{schema['description']} Stream: `{schema['x-stream']}`.{subject}\n"
    yield "| field | type | unit | personal | meaning |"
    yield "|---|---|---|---|---|"
    yield from _fields(schema, schema.get("$defs", {}), "")
    yield ""


def _fields(schema: dict[str, Any], named: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        value = _value(field)
        optional = "" if name in schema.get("required", ()) else "?"
        personal = "yes" if value.get("x-personal") else "no"
        cells = (
            f"`{prefix}{name}`{optional}",
            _kind(value),
            value.get("x-unit", ""),
            personal,
            _cell(field.get("description", "")),
        )
        yield "| " + " | ".join(cells) + " |"
        item = value.get("items", {})
        if "$ref" in item:
            yield from _fields(named[item["$ref"].removeprefix("#/$defs/")], named, f"{prefix}{name}[].")


def _value(field: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a field's schema that says what it is when it is there."""
    choices = [choice for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
    return choices[0] if choices else field


def _kind(value: dict[str, Any]) -> str:
    kind: str = value["type"]
    kind = {"string": "text", "number": "decimal", "integer": "whole number", "boolean": "yes or no"}.get(kind, kind)
    if kind == "array":
        return "list" if "$ref" in value["items"] else f"list of {_kind(value['items'])}s"
    if kind == "object":
        return f"{_kind(value['additionalProperties'])} by name"
    if value.get("format") == "date":
        return "day"
    if "pattern" in value:
        return f"{kind} `{_cell(value['pattern'])}`"
    low = value.get("minimum")
    return f"{kind}, at least {low}" if low else kind


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
