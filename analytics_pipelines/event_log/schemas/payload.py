"""What all payloads share.

Defines the base class of payloads and the kinds of value they use. Add a kind here when two event types need it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(min_length=1, max_length=200)]
Amount = Annotated[Decimal, Field(ge=0)]
"""Money, in the currency named beside it."""


class Payload(BaseModel):
    """The `data` of an event.

    Fields that a schema does not know are kept: a producer may say more than is read. The validated object only
    decides; what is stored is the JSON that was sent.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
