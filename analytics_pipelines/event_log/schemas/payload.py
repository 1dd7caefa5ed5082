"""What all payloads share.

Defines the base class of payloads and the kinds of value they use. Add a kind here when two event types need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _is_a_day(text: str) -> str:
    date.fromisoformat(text)
    return text


# Room for a prefix: a stream is named by the aggregate's kind and its identifier.
Identifier = Annotated[str, Field(min_length=1, max_length=150)]
# A schema only decides; what is stored is the JSON number as it was sent. A text is refused: Postgres reads fewer of
# them as numbers than Pydantic does, and what cannot be cast later would stop every projection.
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Amount = Number
"""Money, in the currency named beside it."""
WholeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_is_a_day)]


@dataclass(frozen=True)
class Personal:
    """Marks a field that tells something about a person; `Payload.subject_field` says whose it is."""


PersonalText = Annotated[str, Field(max_length=10_000), Personal()]


def domain(email: str) -> str:
    """Return the domain of an e-mail address, in small letters; models need it, and it names no person."""
    return email.rpartition("@")[2].strip().lower()


Derived = Mapping[str, tuple[str, Callable[[str], str]]]
"""Fields computed where they are absent: each from which field, and how."""


class Payload(BaseModel):
    """The `data` of an event.

    Fields that a schema does not know are kept: a producer may say more than is read. The validated object only
    decides; what is stored is the JSON that was sent.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    subject_field: ClassVar[str | None] = None
    """The field that identifies the person whom the payload's personal fields are about."""

    derived: ClassVar[Derived] = {}
    """What models need of personal fields; computed before these are encrypted."""
