"""The examples of the README, run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from tests.e2e.conftest import Demo

EXAMPLE = re.compile(r"<!-- run by tests/e2e/test_readme.py -->\n```(\w+)\n(.*?)```", re.DOTALL)


def test_the_examples_of_the_readme_do_what_it_says(demo: Demo, demo_pool: ConnectionPool, tmp_path: Path) -> None:
    """An order sent by the shell lines is in the mart after the build, and its payment follows by the Python lines."""
    examples = dict(EXAMPLE.findall((PROJECT_FOLDER / "README.md").read_text()))
    assert set(examples) == {"bash", "python"}
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    subprocess.run(["bash", "-euc", examples["bash"]], cwd=tmp_path, env=demo.environment, check=True)
    with demo_pool.connection() as connection:
        order = "select revenue, status from marts.fct_orders where tenant_id = 'mine' and customer_id = 'ada'"
        assert connection.execute(order).fetchall() == [(Decimal("9.90"), "pending")]
    subprocess.run([sys.executable, "-c", examples["python"]], cwd=tmp_path, env=demo.environment, check=True)
    with demo_pool.connection() as connection:
        versions = "select event_type, stream_version from event_log.events where tenant_id = 'mine' order by position"
        assert connection.execute(versions).fetchall()[:2] == [("order_placed", 1), ("order_paid", 2)]
