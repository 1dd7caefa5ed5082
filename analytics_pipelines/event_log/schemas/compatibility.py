"""Whether a schema may change without a new version.

Defines `breaking_changes()` between two JSON Schemas, and `differences()` between the built-in types and the files that
are checked in. What was promised to a producer (its payloads stay valid) and to a reader (the fields it uses stay
there, of the same type) needs a new version to be taken back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.schemas.json_schema import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_Schema: TypeAlias = dict[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
# Compared by a rule of their own, below, or says nothing of which payloads are valid.
_RULED = {*_LOWER, *_UPPER, "type", "properties", "required", "items", "additionalProperties", "enum", "const"}
_WORDS = {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}


@dataclass(frozen=True, slots=True)
class Differences:
    """How the types differ from the files: what breaks a promise, and what was only added."""

    breaking: list[str] = field(default_factory=list)
    additive: list[str] = field(default_factory=list)


def differences(folder: Path) -> Differences:
    """Compare the built-in types with the files of a folder.

    Raises:
        PipelinesError: a file cannot be read.
    """
    now = files()
    found = Differences()
    for path in sorted(folder.glob("*.json")):
        name = path.name.removesuffix(".json")
        if path.name not in now:
            found.breaking.append(f"{name}: the type is gone; events of it are in the log: keep its class")
            continue
        text = _read(path)
        if text == now[path.name]:
            continue
        broken = breaking_changes(json.loads(text), json.loads(now[path.name]))
        found.breaking.extend(
            f"{name}: {line}; undo it, or leave this version as it was and add the next with an upcaster"
            for line in broken
        )
        if not broken:
            found.additive.append(f"{name}: changed without breaking anything; run `pipelines events schemas export`")
    missing = [name for name in now if not (folder / name).exists()]
    found.additive.extend(
        f"{name.removesuffix('.json')}: is new; run `pipelines events schemas export`" for name in missing
    )
    return found


def breaking_changes(old: _Schema, new: _Schema) -> list[str]:
    """Say what of a new JSON Schema breaks what the old one promised, a line each, or nothing.

    Breaking: a field removed or of another type, newly required or required no more; a range, pattern, format or list
    of values narrowed; anything else that changed and is not known to be harmless.
    """
    return list(_compare(old, new, "the payload", old, new))


def _compare(old: _Schema, new: _Schema, path: str, old_root: _Schema, new_root: _Schema) -> Iterator[str]:
    before, after = _alternatives(old, old_root), _alternatives(new, new_root)
    if before.keys() != after.keys():
        yield f"{path} was of type {' or '.join(sorted(before))} and is {' or '.join(sorted(after))}"
        return
    for kind, schema in before.items():
        yield from _narrowed(schema, after[kind], path)
        yield from _fields(schema, after[kind], path, old_root, new_root)
        for keyword in ("items", "additionalProperties"):
            yield from _inner(schema.get(keyword, True), after[kind].get(keyword, True), path, old_root, new_root)


def _alternatives(schema: _Schema, root: _Schema) -> dict[str, _Schema]:
    """Return the schema for each type of value that is allowed."""
    while "$ref" in schema:
        schema = {**root["$defs"][schema["$ref"].removeprefix("#/$defs/")], **_without(schema, "$ref")}
    if "anyOf" in schema:
        rest = _without(schema, "anyOf")
        return {
            kind: {**rest, **part} for choice in schema["anyOf"] for kind, part in _alternatives(choice, root).items()
        }
    kinds: str | list[str] = schema.get("type", "anything")
    return dict.fromkeys(kinds if isinstance(kinds, list) else [kinds], schema)


def _without(schema: _Schema, keyword: str) -> _Schema:
    return {name: value for name, value in schema.items() if name != keyword}


def _fields(old: _Schema, new: _Schema, path: str, old_root: _Schema, new_root: _Schema) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
    for name in before:
        inner = _join(path, name)
        if name not in after:
            yield f"{inner} was removed"
        else:
            yield from _compare(before[name], after[name], inner, old_root, new_root)
    for name in sorted(needed_after - needed_before):
        yield f"{_join(path, name)} is newly required"
    for name in sorted((needed_before - needed_after) & after.keys()):
        yield f"{_join(path, name)} is required no more, and readers count on it"


def _inner(old: _Schema | bool, new: _Schema | bool, path: str, old_root: _Schema, new_root: _Schema) -> Iterator[str]:  # noqa: FBT001 - a JSON Schema may be true or false
    path = f"{path}[]"
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _compare(old, new, path, old_root, new_root)
    elif old is not new and old is not False:
        yield f"{path} was {_short(old)} and is {_short(new)}"


def _narrowed(old: _Schema, new: _Schema, path: str) -> Iterator[str]:
    for keyword in _LOWER:
        if keyword in new and (keyword not in old or new[keyword] > old[keyword]):
            yield f"{path}: {keyword} went up from {old.get(keyword, 'none')} to {new[keyword]}"
    for keyword in _UPPER:
        if keyword in new and (keyword not in old or new[keyword] < old[keyword]):
            yield f"{path}: {keyword} went down from {old.get(keyword, 'none')} to {new[keyword]}"
    lost = _lost_values(old, new)
    if lost:
        yield f"{path}: {lost}"
    for keyword in sorted((old.keys() | new.keys()) - _RULED - _WORDS):
        if keyword.startswith("x-") and keyword != "x-subject-field":
            continue
        if keyword in new and old.get(keyword) != new[keyword]:
            yield f"{path}: {keyword} was {_short(old.get(keyword, 'none'))} and is {_short(new[keyword])}"


def _lost_values(old: _Schema, new: _Schema) -> str | None:
    before = [old["const"]] if "const" in old else old.get("enum")
    after = [new["const"]] if "const" in new else new.get("enum")
    if after is None:
        return None
    if before is None:
        return f"only the values {_short(after)} are left"
    lost = [value for value in before if value not in after]
    return f"the values {_short(lost)} are allowed no more" if lost else None


def _join(path: str, name: str) -> str:
    return name if path == "the payload" else f"{path}.{name}"


def _short(value: object) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def _read(path: Path) -> str:
    try:
        text = path.read_text()
        json.loads(text)
    except (OSError, ValueError) as error:
        raise PipelinesError(f"{path}: cannot be read ({error}); take it back from version control") from None
    return text
