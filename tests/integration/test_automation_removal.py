"""What is taken out of the project: found, and removed with all that was written down of it, and nothing else."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from click.testing import CliRunner

from analytics_pipelines import connections, progress
from analytics_pipelines.automation import removal
from analytics_pipelines.cli import pipelines
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import projector, rebuild
from analytics_pipelines.read_models.columns import count
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings

CAMPAIGNS = READ_MODELS["campaign_performance"]  # also keeps results by day
ORDERS = READ_MODELS["order_state"]
GONE = f"read_models/{CAMPAIGNS.name}"
LINEAGE = {f"read_models/{ORDERS.name}"}
MART = "marts/fct_gone"


@pytest.fixture
def built(database: ConnectionPool) -> ConnectionPool:
    """Two read models, one of them with a former version, and a mart of yesterday's project."""
    EventStore(database).append_batch("one", simulate(1_000, seed=1))
    settled = EventStore(database).settled_position()
    with database.connection() as connection:
        projector.advance(connection, [CAMPAIGNS, ORDERS], settled)
    wider = replace(CAMPAIGNS, columns=(*CAMPAIGNS.columns, count("mails", "E-mails sent", "email_sent")))
    rebuild.rebuild(database, wider, settled)
    with database.connection() as connection:
        connection.execute("create table marts.fct_gone as select 'one' as tenant_id, 1 as amount")
        for asset in (GONE, MART, *LINEAGE):
            progress.record_build(
                connection, asset_key=asset, position=settled, rows={"one": 1}, seconds=1, code_version="1", run_id="r"
            )
    return database


def everything(pool: ConnectionPool, part: str) -> set[str]:
    """Relations, functions, versions, checkpoints and builds with a part in their name."""
    with pool.connection() as connection:
        rows = connection.execute(
            """
            select relnamespace::regnamespace || '.' || relname from pg_class where relname like %(part)s
            union all select proname from pg_proc where proname like %(part)s
            union all select model from read_models.versions where model like %(part)s
            union all select reader from progress.checkpoints where reader like %(part)s
            union all select asset_key from progress.builds where asset_key like %(part)s
            union all select model from progress.touched where model like %(part)s
            """,
            {"part": f"%{part}%"},
        )
        return {name for (name,) in rows.fetchall()}


def rows(pool: ConnectionPool, model: ReadModel) -> int:
    with pool.connection() as connection:
        found = connection.execute(f"select count(*) from read_models.{model.name}").fetchone()
        assert found is not None
        return found[0]


def test_a_read_model_leaves_nothing_behind_and_comes_back_whole(built: ConnectionPool) -> None:
    """View, function, tables of both versions, checkpoints and account are gone; the file put back builds all rows."""
    before, others = rows(built, CAMPAIGNS), everything(built, ORDERS.name)
    with built.connection() as connection:
        assert removal.retired(connection, LINEAGE) == [MART, GONE]
        changes = progress.changes(connection, [GONE.replace("/", ".")])
    dropped = removal.drop(built, GONE, LINEAGE)
    assert len(dropped) == 1 + 2 * 2
    assert everything(built, CAMPAIGNS.name) == set()
    assert everything(built, ORDERS.name) == others
    with built.connection() as connection:
        assert removal.retired(connection, LINEAGE) == [MART]
        projector.advance(connection, [CAMPAIGNS], EventStore(built).settled_position())
    assert rows(built, CAMPAIGNS) == before
    with built.connection() as connection:  # whoever has read up to a change of before finds that there was one since
        now = progress.changes(connection, list(changes))
    assert [now[name] > change for name, change in changes.items()] == [True]


def test_a_mart_leaves_nothing_behind(built: ConnectionPool) -> None:
    """Table and account are gone."""
    assert removal.drop(built, MART, LINEAGE) == ["marts.fct_gone"]
    assert everything(built, "fct_gone") == set()


def test_what_the_lineage_has_or_nobody_knows_is_refused(built: ConnectionPool) -> None:
    """Nothing is removed that the next build would make, or by a misspelt name."""
    with pytest.raises(PipelinesError, match="read_models/order_state is in the lineage; take its file out"):
        removal.drop(built, "read_models/order_state", LINEAGE)
    for wrong in ("marts/fct_gon", "event_log/events", "nothing", "read_models/versions", "public/x; drop table y"):
        with pytest.raises(PipelinesError, match="what was is marts/fct_gone, read_models/campaign_performance"):
            removal.drop(built, wrong, LINEAGE)
    assert rows(built, ORDERS) > 0


def test_what_somebody_dropped_by_hand_can_still_be_removed(built: ConnectionPool) -> None:
    """Without its view a model is still known; so are tables that its account has lost, and their checkpoints."""
    with built.connection() as connection:
        connection.execute("drop view read_models.campaign_performance")
        connection.execute("create table read_models.campaign_performance__v01234567 (key text)")
        progress.read_checkpoint(connection, "read_models.campaign_performance__v01234567")
        assert removal.retired(connection, LINEAGE) == [MART, GONE]
    assert len(removal.drop(built, GONE, LINEAGE)) == 1 + 2 * 2 + 1
    assert everything(built, CAMPAIGNS.name) == set()


@pytest.mark.parametrize("asset", [GONE, MART])
def test_two_who_drop_it_at_once_do_not_fail(built: ConnectionPool, asset: str) -> None:
    """One removes it; the other is told that there is nothing to remove, or removes nothing."""
    told: list[str] = []

    def work() -> None:
        try:
            removal.drop(built, asset, LINEAGE)
        except PipelinesError as error:
            told.append(str(error))

    with built.connection() as reader:  # both are past the question whether it is there before one can drop it
        reader.execute(f"select count(*) from {asset.replace('/', '.')}")
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        time.sleep(1)
    for worker in workers:
        worker.join()
    assert all("dropped by somebody else" in line or "names nothing that was taken" in line for line in told)
    assert len(told) <= 1
    assert everything(built, asset.partition("/")[2]) == set()


@pytest.mark.parametrize(
    ("asset", "relation"),
    [
        (GONE, "read_models.campaign_performance"),
        (GONE, "read_models.campaign_performance_as_of()"),
        (MART, "marts.fct_gone"),
    ],
)
def test_what_something_is_built_upon_stays_whole(built: ConnectionPool, asset: str, relation: str) -> None:
    """A view that BI made upon it is named, and nothing is removed before it is."""
    before = everything(built, "gone") | everything(built, CAMPAIGNS.name)
    with built.connection() as connection:
        connection.execute(f"create view staging.upon as select tenant_id from {relation}")
    with pytest.raises(PipelinesError, match=rf"{asset} stays: view staging.upon depends on .*; drop that first"):
        removal.drop(built, asset, LINEAGE)
    assert everything(built, "gone") | everything(built, CAMPAIGNS.name) == before
    with built.connection() as connection:
        connection.execute("drop view staging.upon")
    assert removal.drop(built, asset, LINEAGE)


def test_a_reader_is_not_kept_waiting(
    built: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a transaction reads it, it stays, and the line says why; no other reader waits for longer than that."""
    monkeypatch.setattr(removal, "LOCK_TIMEOUT", "200ms")
    url = connections.database_url(database_settings)
    with psycopg.connect(url, options=connections.RUNTIME_OPTIONS) as reader:
        reader.execute(f"select count(*) from read_models.{CAMPAIGNS.name}")
        with pytest.raises(PipelinesError, match="stays: it is being read or built; end the long queries"):
            removal.drop(built, GONE, LINEAGE)
    assert removal.drop(built, GONE, LINEAGE)


def test_the_command_knows_the_lineage(
    built: ConnectionPool, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipelines drop` refuses what the project declares, and removes what it does not."""
    monkeypatch.setenv("PIPELINES_DATABASE_URL", connections.database_url(database_settings))
    result = CliRunner().invoke(pipelines, ["drop", "marts/fct_orders"])
    assert isinstance(result.exception, PipelinesError)
    assert "marts/fct_orders is in the lineage" in str(result.exception)
    result = CliRunner().invoke(pipelines, ["drop", MART], catch_exceptions=False)
    assert result.stdout == "dropped marts.fct_gone\n"
    assert everything(built, "fct_gone") == set()
