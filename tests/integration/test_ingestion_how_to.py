"""What the documentation says of bringing events in is what happens."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from analytics_pipelines.ingestion.files import ingest_file
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import EventStore

FILE = re.compile(r"<!-- file (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)


def test_the_example_of_a_mapping_works(tmp_path: Path, database: ConnectionPool, store: EventStore) -> None:
    """The two files of the page give the two payments, at the time of Berlin."""
    page = (PROJECT_FOLDER / "docs" / "how-to" / "bring-events-in.md").read_text(encoding="utf-8")
    for name, text in FILE.findall(page):
        (tmp_path / name).write_text(text, encoding="utf-8")
    result = ingest_file(database, "mine", tmp_path / "payments.csv", tmp_path / "payments.yaml")
    assert (result.accepted, result.quarantined) == (2, 0)
    first, _ = store.read()
    assert (first.event_id, first.stream_id, first.data) == (
        "p-1",
        "order-77",
        {"order_id": "77", "amount": Decimal("19.90")},
    )
    assert first.occurred_at == datetime(2017, 6, 1, 10, tzinfo=UTC)
