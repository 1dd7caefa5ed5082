"""The event types that one installation knows: the built-in ones and its own.

Defines `Catalog`, which an `EventStore` validates with, and `load_catalog()`, which reads a user's JSON Schemas from a
folder. A built-in type is a class in `schemas/`; a user's own is a file `<type>.v<version>.json` (JSON Schema 2020-12).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.personal import PERSONAL, PersonalFields, kind_of
from analytics_pipelines.event_log.schemas import SCHEMAS, VALIDATORS
from analytics_pipelines.event_log.schemas.json_schema import DIALECT
from analytics_pipelines.event_log.schemas.payload import Payload
from analytics_pipelines.event_log.schemas.personal import personal_fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import jsonschema_rs
    from pydantic_core import ValidationError

_FILE = re.compile(r"(?P<event_type>[a-z][a-z0-9_]{0,99})\.v(?P<version>[1-9][0-9]{0,3})\.json")
_OPEN = {"$ref", "allOf", "anyOf", "oneOf", "if", "patternProperties"}
"""What says of fields elsewhere than in `properties`."""
_ANY_OBJECT = Payload.__pydantic_validator__


class Validator(Protocol):
    """Decides over a payload's JSON text; Pydantic's own validators do it for the built-in types."""

    def validate_json(self, data: str, /, *, strict: bool) -> Payload:
        """Return the payload.

        Raises:
            ValidationError: it is not valid.
        """
        ...


@dataclass(frozen=True, slots=True)
class Catalog:
    """The event types of an installation, by type and version.

    Attributes:
        validators: what decides over a payload.
        personal: the personal fields of the types that tell of a person.
        own: the JSON Schemas of the types that are not built in.
    """

    validators: Mapping[tuple[str, int], Validator]
    personal: Mapping[tuple[str, int], PersonalFields]
    own: Mapping[tuple[str, int], dict[str, Any]]

    def fields_of(self, event_type: str) -> set[str] | None:
        """Return the fields that any version of an event type names; None where a schema leaves them open."""
        found: set[str] = set()
        for (name, _), payload in SCHEMAS.items():
            found |= set(payload.model_fields) if name == event_type else set()
        for (name, _), schema in self.own.items():
            if name == event_type:
                if _OPEN & schema.keys() or "properties" not in schema:
                    return None
                found |= set(schema["properties"])
        return found


BUILT_IN = Catalog(cast("Mapping[tuple[str, int], Validator]", VALIDATORS), PERSONAL, {})
"""The types that every installation knows."""


def load_catalog(folder: Path) -> Catalog:
    """Return the built-in types and those whose JSON Schemas stand in a folder, which need not exist.

    Raises:
        PipelinesError: a file is broken, or would replace a built-in type.
    """
    own: dict[tuple[str, int], dict[str, Any]] = {}
    validators, personal = dict(BUILT_IN.validators), dict(BUILT_IN.personal)
    built_in = {event_type for event_type, _ in VALIDATORS}
    for path in sorted(folder.glob("*.json")):
        name = _FILE.fullmatch(path.name)
        if name is None:
            raise PipelinesError(
                f"{path}: name it <type>.v<version>.json, the type in snake_case (invoice_sent.v1.json)"
            )
        key = name["event_type"], int(name["version"])
        if key[0] in built_in:
            raise PipelinesError(f"{path}: {key[0]} is a built-in type, which no file can change; choose another name")
        try:
            own[key] = schema = _read(path)
            validators[key] = OwnValidator(schema)
            fields = personal_fields(schema)
        except (OSError, ValueError) as error:
            raise PipelinesError(f"{path}: {str(error).splitlines()[0]}; correct the file or remove it") from None
        if fields is not None:
            subject, names = fields
            personal[key] = PersonalFields(subject, kind_of(subject), names, {})
    return Catalog(validators, personal, own)


def configured_catalog() -> Catalog:
    """Return the catalog of the settings: the built-in types, and those in their folder of schemas.

    Raises:
        PipelinesError: a file there is broken, or a setting is.
    """
    from analytics_pipelines.settings import load_settings

    return load_catalog(load_settings().schemas)


class OwnValidator:
    """Validates the payloads of a user's own type."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Take a JSON Schema.

        Raises:
            ValueError: it is none, or refers to what is not in it.
        """
        import jsonschema_rs

        try:
            jsonschema_rs.meta.validate(schema)
            # What a payload says is masked: the reason for a refusal is kept in the clear. The plain engine for
            # patterns takes linear time, whatever is sent.
            self._validator: jsonschema_rs.Draft202012Validator = jsonschema_rs.Draft202012Validator(
                schema,
                validate_formats=True,
                offline=True,
                mask="the value",
                pattern_options=jsonschema_rs.RegexOptions(),
            )
        except jsonschema_rs.ValidationError as error:
            path = ".".join(str(part) for part in error.instance_path) or "the schema"
            raise ValueError(f"{path}: {error.message}") from None

    def validate_json(self, data: str, /, *, strict: bool) -> Payload:
        """Return the payload.

        Raises:
            ValidationError: it is no JSON object, or not as the schema has it.
        """
        payload = cast("Payload", _ANY_OBJECT.validate_json(data, strict=strict))
        error = next(self._validator.iter_errors(payload.model_extra), None)
        if error is not None:
            raise _validation_error(error)
        return payload


def _validation_error(error: jsonschema_rs.ValidationError) -> ValidationError:
    from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

    kind = PydanticCustomError("json_schema", "{message}", {"message": error.message})
    details = InitErrorDetails(type=kind, loc=tuple(error.instance_path), input=None)
    return ValidationError.from_exception_data("payload", [details])


def _read(path: Path) -> dict[str, Any]:
    schema = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(schema, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - said of a file's content
    if schema.get("$schema", DIALECT) != DIALECT:
        raise ValueError(f"$schema must be {DIALECT}")
    return schema
