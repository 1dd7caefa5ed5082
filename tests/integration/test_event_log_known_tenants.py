"""A misspelt tenant is told so, by every command that would otherwise answer with nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from analytics_pipelines import connections
from analytics_pipelines.cli import pipelines
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, Malformed
from analytics_pipelines.ingestion.simulator import simulate

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

COMMANDS = [
    ["events", "tail"],
    ["events", "trace", "request-1"],
    ["redrive"],
    ["quarantine", "list"],
    ["verify"],
    ["sagas", "list"],
    ["erase", "--subject", "lead-nobody"],
]


@pytest.fixture
def log(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """A tenant with events, and one of which all that was sent is refused."""
    monkeypatch.setenv("PIPELINES_DATABASE_URL", connections.database_url(database_settings))
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    EventStore(database).append_batch("one", simulate(100, seed=1))
    EventStore(database).append_batch("refused", [Malformed(b"{", "is no JSON", "a file")])


@pytest.mark.usefixtures("log")
def test_a_tenant_that_never_sent_anything_is_refused() -> None:
    """The line names it and says what to do; one whose events were all refused is known, and nothing is an answer."""
    for command in COMMANDS:
        result = CliRunner().invoke(pipelines, [*command, "--tenant", "onne"])
        assert isinstance(result.exception, PipelinesError), command
        assert str(result.exception) == "tenant 'onne' has no events; correct the name"
        for tenant in ("one", "refused"):
            result = CliRunner().invoke(pipelines, [*command, "--tenant", tenant], catch_exceptions=False)
            assert result.exit_code == 0, command


@pytest.mark.usefixtures("log")
def test_a_misspelt_event_type_is_told_so() -> None:
    """`events tail` says that the catalog has no such type, and prints the others that were asked for."""
    asked = ["events", "tail", "--tenant", "one", "--type", "lead_createt", "--type", "lead_created"]
    result = CliRunner().invoke(pipelines, asked, catch_exceptions=False)
    assert result.stderr.startswith("'lead_createt' is no event type of the catalog: see docs/events.md")
    assert '"type": "lead_created"' in result.stdout
