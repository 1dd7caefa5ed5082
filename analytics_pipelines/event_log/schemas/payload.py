"""What all payloads share.

Defines the base class of payloads and the kinds of value they use. Add a kind here when two event types need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema


def _is_a_day(text: str) -> str:
    date.fromisoformat(text)
    return text


@dataclass(frozen=True)
class Unit:
    """Says what a number counts. It is written into the JSON Schema as `x-unit` and checks nothing."""

    name: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Write the unit beside the type."""
        return {**handler(schema), "x-unit": self.name}


@dataclass(frozen=True)
class Personal:
    """Marks a field that tells something about a person; `Payload.subject_field` says whose it is."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Write the mark beside the type, as a user's own JSON Schema has it."""
        return {**handler(schema), "x-personal": True}


# Room for a prefix: a stream is named by the aggregate's kind and its identifier.
Identifier = Annotated[str, Field(min_length=1, max_length=150)]
# A schema only decides; what is stored is the JSON number as it was sent. A text is refused: Postgres reads fewer of
# them as numbers than Pydantic does, and what cannot be cast later would stop every projection.
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SignedNumber = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[Number, Field(le=1), Unit("share, 0 to 1")]
Amount = Annotated[Number, Unit("money")]
"""Money, in the currency named beside it; where none is named, in that of the aggregate."""
Currency = Annotated[str, Field(pattern="^[A-Z]{3}$")]
"""An ISO 4217 code."""
WholeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
Milliseconds = Annotated[WholeNumber, Unit("milliseconds")]
Credits = Annotated[Number, Unit("credits")]
"""What a workspace pays agents with; decimal, and no money."""
Day = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", json_schema_extra={"format": "date"}),
    AfterValidator(_is_a_day),
]
PersonalText = Annotated[str, Field(max_length=10_000), Personal()]


def domain(email: str) -> str:
    """Return the domain of an e-mail address, in small letters; models need it, and it names no person."""
    return email.rpartition("@")[2].strip().lower()


Derived = Mapping[str, tuple[str, Callable[[str], str]]]
"""Fields computed where they are absent: each from which field, and how."""


class Payload(BaseModel):
    """The `data` of an event.

    The class is the declaration: its name gives the type and the version (`LeadCreated` is `lead_created` version 1,
    `ExperimentStartedV2` is `experiment_started` version 2), its docstring says what happened and, last, names the
    stream. What a field means stands in `vocabulary.py`.

    Fields that a schema does not know are kept: a producer may say more than is read. The validated object only
    decides; what is stored is the JSON that was sent.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    subject_field: ClassVar[str | None] = None
    """The field that identifies the person whom the payload's personal fields are about."""

    derived: ClassVar[Derived] = {}
    """What models need of personal fields; computed before these are encrypted."""
