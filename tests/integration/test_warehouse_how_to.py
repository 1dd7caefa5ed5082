"""What the documentation says of adding a mart is what happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from analytics_pipelines import connections
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import PROJECT_FOLDER
from analytics_pipelines.warehouse.dbt import dbt_environment
from analytics_pipelines.warehouse.manifest import DBT, PROJECT

if TYPE_CHECKING:
    from pathlib import Path

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

PAGE = PROJECT_FOLDER / "docs" / "how-to" / "add-a-mart.md"
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)


def test_the_example_of_a_mart_works(database: ConnectionPool, database_settings: Settings, tmp_path: Path) -> None:
    """The page's two files, taken as they stand, build with their contract and test, and break no rule."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    text = PAGE.read_text(encoding="utf-8")
    for kind, suffix in (("sql", "sql"), ("yaml", "yml")):
        [content] = re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)
        (project / "models" / "marts" / "sales" / f"fct_order_discounts.{suffix}").write_text(content, encoding="utf-8")

    lines = [
        {"product_id": product, "quantity": 1, "revenue": 5, "discount": discount}
        for product, discount in (("tea", Decimal("0.50")), ("milk", Decimal("0.25")))
    ]
    order = {"order_id": "1", "customer_id": "ada", "channel": "online", "currency": "EUR", "lines": lines}
    store = EventStore(database)
    store.append("mine", "order-1", [NewEvent("shop", "1", "order-1", "order_placed", NOON, order)])
    with database.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), store.settled_position())

    folders = ["--project-dir", project, "--profiles-dir", project, "--target-path", tmp_path / "target"]
    url = connections.database_url(database_settings)
    done = subprocess.run(
        [*DBT, "--no-use-colors", "--log-level-file", "none", "build", "--exclude-resource-type", "unit_test",
         "--indirect-selection", "cautious", "--select", "+fct_order_discounts", "rule_exceptions+", *folders],
        env=os.environ | dbt_environment(url, store.settled_position()), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with database.connection() as connection:
        found = connection.execute("select * from marts.fct_order_discounts").fetchall()
    assert found == [("mine", "1", "pending", Decimal("0.75"))]
