"""What tests of the catalog share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def payloads() -> Callable[[dict[str, Any]], st.SearchStrategy[Any]]:
    """Return what makes valid payloads of a JSON Schema, as far as the catalog's words go."""
    return lambda schema: _values(schema, schema.get("$defs", {}))


def _values(schema: dict[str, Any], named: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _values(named[schema["$ref"].removeprefix("#/$defs/")], named)
    if "anyOf" in schema:
        return st.one_of([_values(choice, named) for choice in schema["anyOf"]])
    return _OF_TYPE[schema["type"]](schema, named)


def _lists(schema: dict[str, Any], named: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    least = schema.get("minItems", 0)
    return st.lists(_values(schema["items"], named), min_size=least, max_size=least + 2)


def _numbers(schema: dict[str, Any], _named: dict[str, Any]) -> st.SearchStrategy[float]:
    open_end = "exclusiveMinimum" in schema
    least = schema["exclusiveMinimum"] if open_end else schema.get("minimum")
    most = schema.get("maximum")
    return st.floats(least, most, allow_nan=False, allow_infinity=False, exclude_min=open_end)


def _objects(schema: dict[str, Any], named: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        return st.dictionaries(st.text(max_size=5), _values(schema["additionalProperties"], named), max_size=3)
    fields = {name: _values(field, named) for name, field in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    unknown = st.dictionaries(st.from_regex("x_[a-z]{1,5}", fullmatch=True), st.integers(), max_size=2)
    known = st.fixed_dictionaries(required, optional=fields)
    return st.builds(lambda payload, more: {**payload, **more}, known, unknown)


def _texts(schema: dict[str, Any], _named: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date":
        return st.dates().map(str)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].removesuffix("$"), fullmatch=True)
    least = schema.get("minLength", 0)
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.text(characters, min_size=least, max_size=least + 10)


_OF_TYPE: dict[str, Callable[[dict[str, Any], dict[str, Any]], st.SearchStrategy[Any]]] = {
    "object": _objects,
    "array": _lists,
    "string": _texts,
    "integer": lambda schema, _: st.integers(schema.get("minimum"), schema.get("maximum")),
    "number": _numbers,
    "boolean": lambda _schema, _named: st.booleans(),
    "null": lambda _schema, _named: st.none(),
}
