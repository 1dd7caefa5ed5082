"""The catalog as JSON Schema files.

Defines `json_schema()` of a built-in type, and the checked-in folder of files that `compatibility` compares with. A
file says all that the catalog knows of a type: fields, stream (`x-stream`), units (`x-unit`), personal fields
(`x-personal`) and whose they are (`x-subject-field`). A user's own JSON Schema uses the same words.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.event_log.schemas.vocabulary import MEANINGS

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FOLDER = Path(__file__).parent / "json"
"""The files that stand for what producers and readers were promised."""

_DOCSTRING = re.compile(r"(?P<meaning>.+?) Stream: `(?P<stream>[^`]+)`\.(?P<more>.*)", re.DOTALL)


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that Pydantic makes of names."""

    def field_title_should_be_set(self, schema: CoreSchema) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Say that no field has a title."""
        del schema
        return False


@cache
def json_schema(event_type: str, version: int) -> dict[str, Any]:
    """Return the JSON Schema of a built-in type. Shared: do not change it.

    Raises:
        KeyError: the catalog has no such type and version.
    """
    payload = SCHEMAS[event_type, version]
    schema = payload.model_json_schema(schema_generator=_WithoutTitles)
    told = _DOCSTRING.fullmatch(" ".join((payload.__doc__ or "").split()))
    if told is None:
        raise ValueError(f"{payload.__name__}: the docstring must say what happened and end with Stream: `...`.")
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("title", None)
        for name, field in part["properties"].items():
            if "description" not in field and name in MEANINGS:
                field["description"] = MEANINGS[name]
    head: dict[str, Any] = {
        "$schema": DIALECT,
        "title": event_type,
        "description": told["meaning"] + told["more"],
        "x-stream": told["stream"],
    }
    if payload.subject_field is not None:
        head["x-subject-field"] = payload.subject_field
    schema.pop("description")
    return {**head, **schema}


def file_name(event_type: str, version: int) -> str:
    """Return how the file of a type and version is called."""
    return f"{event_type}.v{version}.json"


def files() -> dict[str, str]:
    """Return the text of every built-in type's file, by file name."""
    return {
        file_name(*key): json.dumps(json_schema(*key), indent=2, ensure_ascii=False) + "\n" for key in sorted(SCHEMAS)
    }
