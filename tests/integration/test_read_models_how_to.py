"""What the documentation says of adding a read model is what happens."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

PAGE = PROJECT_FOLDER / "docs" / "how-to" / "add-a-read-model.md"
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def test_the_example_of_a_read_model_works(database: ConnectionPool) -> None:
    """The page's declaration, taken as it stands, folds what was sent: a meeting of two leads counts for both."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    held = [
        {"meeting_id": "1", "lead_ids": ["a", "b"], "duration_ms": 3_600_001},
        {"meeting_id": "2", "lead_ids": ["a"]},
    ]
    events = [NewEvent("crm", str(number), "meeting", "meeting_held", NOON, data) for number, data in enumerate(held)]
    wrote = {"message_id": "1", "sender_id": "b", "recipient_id": "a", "channel": "chat"}
    store = EventStore(database)
    store.append_batch("t", [*events, NewEvent("crm", "m", "lead-b", "message_exchanged", NOON, wrote)])
    with database.connection() as connection:
        projector.advance(connection, [names["MODEL"]], store.settled_position())
        found = connection.execute("select * from read_models.lead_attention order by lead_id").fetchall()
    assert found == [
        ("t", "a", 2, 1, Decimal("0.5"), Decimal("3600.001"), 1, "chat", NOON, NOON),
        ("t", "b", 1, 1, Decimal(1), Decimal("3600.001"), 0, None, NOON, NOON),
    ]
