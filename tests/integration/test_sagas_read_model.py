"""What the log says of sagas, folded, against `sagas.executions`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform
from analytics_pipelines.sagas import executions
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.checks import agrees_with_executions
from analytics_pipelines.sagas.enrolment import enrol, saga_id
from analytics_pipelines.sagas.runner import Runner

if TYPE_CHECKING:
    import pytest
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

REQUESTED_AT = datetime(2017, 6, 1, 12, tzinfo=UTC)


def request(pool: ConnectionPool, campaign: str, industry: str) -> str:
    """Ask for a campaign and return the saga's id."""
    data = {"campaign_id": campaign, "name": "Spring", "channel": "email", "workspace_id": "w", "budget_credits": 10}
    event = NewEvent(
        "crm", campaign, f"campaign-{campaign}", "campaign_launch_requested", REQUESTED_AT,
        {**data, "audience_industry": industry},
    )  # fmt: skip
    EventStore(pool).append("saas", event.stream_id, [event])
    assert enrol(pool, CAMPAIGN_LAUNCH) == 1
    return saga_id(CAMPAIGN_LAUNCH, "saas", "crm", campaign)


def build(pool: ConnectionPool) -> None:
    """Bring the read model up to date and say so."""
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        projector.advance(connection, [READ_MODELS["saga_state"]], up_to)
        connection.execute("delete from progress.builds")
        connection.execute(
            "insert into progress.builds (tenant_id, asset_key, position, rows, seconds, code_version, run_id)"
            " values ('*', 'read_models/saga_state', %s, 1, 0, '1', '')",
            [up_to],
        )


def differing(pool: ConnectionPool) -> list[tuple[str, str, str | None]]:
    """What the check finds."""
    with pool.connection() as connection:
        return executions.differing_from_the_read_model(connection)


def test_the_log_says_where_each_saga_stands(
    database: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a saga ended, its folded events agree with `sagas.executions`; what disagrees is named by the check."""
    with database.connection() as connection:
        connection.execute("create table read_models.lead_analytics (tenant_id text, lead_id text, industry text)")
        connection.execute("insert into read_models.lead_analytics values ('saas', '1', 'retail')")
    created = {"workspace_id": "w", "lead_id": "1", "plan": "team"}
    EventStore(database).append(
        "saas", "workspace-w", [NewEvent("crm", "w", "workspace-w", "workspace_created", REQUESTED_AT, created)]
    )
    launched, without_audience, given_up = (
        request(database, campaign, industry) for campaign, industry in [("1", "retail"), ("2", "none"), ("3", "none")]
    )
    runner = Runner(database)
    ends = [runner.run("saas", launched), runner.run("saas", without_audience)]
    assert ends == ["completed", "compensated"]
    build(database)
    runner.give_up("saas", given_up, "five runs failed")
    assert differing(database) == []  # the event of giving up lies past what the model was built to
    build(database)
    assert differing(database) == []

    with database.connection() as connection:
        folded = dict(connection.execute("select saga_id, status from read_models.saga_state").fetchall())
        assert folded == {launched: "completed", without_audience: "compensated", given_up: "inbox"}
        connection.execute("update sagas.executions set status = 'compensated' where saga_id = %s", [given_up])
    assert differing(database) == [(given_up, "compensated", "inbox")]
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    assert not agrees_with_executions(platform=Platform()).passed  # type: ignore[call-arg]
