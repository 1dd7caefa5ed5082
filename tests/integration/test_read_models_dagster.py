"""Read models as Dagster builds, checks and starts them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from dagster import (
    AssetCheckEvaluation,
    AssetCheckKey,
    AssetKey,
    AssetSelection,
    DagsterInstance,
    RunRequest,
    SkipReason,
    asset,
    build_schedule_context,
    build_sensor_context,
    materialize,
)

from analytics_pipelines import progress
from analytics_pipelines.automation.jobs import landing, lineage
from analytics_pipelines.automation.schedules import nightly_lineage
from analytics_pipelines.automation.selection import unfoldable
from analytics_pipelines.automation.sensors import landing_folder, log_has_grown
from analytics_pipelines.cli import pipelines
from analytics_pipelines.definitions import defs
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.local.dagster import dagster_environment
from analytics_pipelines.read_models import checking, comparison, projector, rebuild, sql
from analytics_pipelines.read_models.assets import ASSETS, asset_key
from analytics_pipelines.read_models.checks import CHECKS, CHECKS_EVERYTHING
from analytics_pipelines.read_models.columns import count, total
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from dagster import DagsterInstance
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings
    from tests.integration.conftest import AssetRuns

EVENTS = 2_000
LEADS = READ_MODELS["lead_analytics"]
MODELS = list(READ_MODELS.values())


def leads_only() -> AssetSelection:
    """The model of the leads with its checks."""
    return AssetSelection.assets(AssetKey(["read_models", "lead_analytics"]))


def checks_only() -> AssetSelection:
    """The checks of the leads, without the model."""
    specs = [spec for check in CHECKS for spec in check.check_specs]
    return AssetSelection.checks(*(spec.key for spec in specs if spec.asset_key.path[-1] == "lead_analytics"))


def evaluations(result: Any) -> dict[str, AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def fact(evaluation: AssetCheckEvaluation, name: str) -> Any:
    return evaluation.metadata[name].value


# What the simulator does not tell of, or not among so few events.
RARE = [
    NewEvent("test", "store", "store-1", "store_opened", datetime(2017, 6, 1, tzinfo=UTC), {
        "store_id": "1", "name": "Harbour", "region": "north"}),
    NewEvent("test", "refund", "order-1", "order_refunded", datetime(2017, 6, 1, tzinfo=UTC), {
        "order_id": "1", "amount": 5}),
    NewEvent("test", "line", "order-1", "order_line_added", datetime(2017, 6, 1, tzinfo=UTC), {
        "order_id": "1", "product_id": "tea", "quantity": 1, "revenue": 5}),
    NewEvent("test", "experiment", "experiment-1", "experiment_started", datetime(2017, 6, 1, tzinfo=UTC), {
        "experiment_id": "1", "name": "Colours", "variants": ["red", "blue"]}),
]  # fmt: skip


def few(events: list[NewEvent]) -> list[NewEvent]:
    """A late e-mail to one of the leads, three months old."""
    first = next(event for event in events if event.event_type == "email_sent")
    return [replace(first, event_id="late", occurred_at=first.occurred_at - timedelta(days=90))]


def written(pool: ConnectionPool, model: ReadModel) -> dict[tuple[str, ...], tuple[str, str]]:
    """By key: which transaction wrote the row of state, and where it lies."""
    with pool.connection() as connection:
        rows = connection.execute(
            f"select {sql.keys(model)}, xmin::text, ctid::text from {sql.table(model)}"
        ).fetchall()
    return {tuple(row[:-2]): (row[-2], row[-1]) for row in rows}


def test_an_injected_wrong_value_is_found_named_and_repaired(
    database: ConnectionPool, asset_runs: AssetRuns, instance: DagsterInstance
) -> None:
    """A row changed behind its back fails the check of all rows, which names it; `pipelines rebuild` puts it right."""
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    first = asset_runs.run([*ASSETS, *CHECKS], leads_only())
    assert first.success
    assert asset_runs.broken(first) == set()
    assert fact(evaluations(first)["live_equals_replay"], "compared") == "all"
    with database.connection() as connection:
        row = connection.execute(
            f"update {sql.table(LEADS)} set _emails_sent = _emails_sent + 1 "
            f"where lead_id = (select max(lead_id) from {sql.table(LEADS)}) returning lead_id"
        ).fetchone()
        assert row is not None

    everything = materialize(
        [*ASSETS, *CHECKS], selection=checks_only(), instance=instance, resources={"platform": Platform()},
        tags=CHECKS_EVERYTHING, raise_on_error=False,
    )  # fmt: skip
    found = evaluations(everything)["live_equals_replay"]
    assert not found.passed
    assert fact(found, "differing") == [f"saas/{row[0]}"]
    assert not everything.success  # what derives from it is held back

    repaired = CliRunner().invoke(pipelines, ["rebuild", "lead_analytics"], catch_exceptions=False)
    assert f"1 rows were wrong and are replaced: saas/{row[0]}" in repaired.stdout
    assert asset_runs.broken(asset_runs.run([*ASSETS, *CHECKS], checks_only())) == set()


def test_a_run_checks_the_keys_that_its_events_touched(database: ConnectionPool, asset_runs: AssetRuns) -> None:
    """After a small append, those keys alone are replayed; a wrong value in one of them is found."""
    events = list(simulate(EVENTS, 1))
    EventStore(database).append_batch("saas", events)
    asset_runs.run([*ASSETS, *CHECKS], leads_only())
    EventStore(database).append_batch("saas", few(events))
    result = asset_runs.run([*ASSETS, *CHECKS], leads_only())
    found = evaluations(result)["live_equals_replay"]
    assert (fact(found, "compared"), fact(found, "keys_compared")) == ("touched", 1)
    [late] = few(events)
    EventStore(database).append_batch("saas", [replace(late, event_id="later")])
    with database.connection() as connection:
        connection.execute(
            f"update {sql.table(LEADS)} set _emails_sent = 99 where lead_id = %s",
            [json.loads(str(late.data))["lead_id"]],
        )
    with pytest.raises(Exception, match="live_equals_replay"):
        asset_runs.run([*ASSETS, *CHECKS], leads_only())


def test_a_changed_declaration_is_rebuilt_when_it_is_materialized(
    database: ConnectionPool, asset_runs: AssetRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run builds it beside and switches; a held former version is advanced, and the run and a check say so."""
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    asset_runs.run([*ASSETS, *CHECKS], leads_only())
    more = count("mails", "E-mails", "email_sent")
    changed = replace(LEADS, columns=(*LEADS.columns, more))
    monkeypatch.setitem(READ_MODELS, "lead_analytics", changed)
    [told] = asset_runs.metadata(asset_runs.run(ASSETS, leads_only())).values()
    assert (told["version"].value, told["replaced_version"].value) == (sql.version(changed), sql.version(LEADS))
    assert told["is_held"].value is False

    CliRunner().invoke(pipelines, ["rebuild", "lead_analytics", "--back"], catch_exceptions=False)
    EventStore(database).append_batch("more", simulate(100, 1))
    held = asset_runs.run(ASSETS, leads_only())
    [told] = asset_runs.metadata(held).values()
    assert (told["version"].value, told["is_held"].value) == (sql.version(LEADS), True)
    assert told["lag_events"].value == 0


def test_a_model_that_cannot_be_folded_fails_its_check_and_keeps_no_other_from_being_made(
    database: ConnectionPool, asset_runs: AssetRuns, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its check names the file; what derives from it is not made, and all else is; the next build leaves that out."""

    @asset(deps=[AssetKey(["read_models", "lead_analytics"])])
    def upon_leads() -> None: ...

    @asset(deps=[AssetKey(["read_models", "order_state"])])
    def upon_orders() -> None: ...

    def left_out() -> list[str]:
        return unfoldable(instance, database, {asset_key(model).to_user_string() for model in MODELS})

    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    brittle = total("odd", "Odd", "lead_created", value="event_id::numeric / 0")
    monkeypatch.setitem(READ_MODELS, "lead_analytics", replace(LEADS, columns=(*LEADS.columns, brittle)))
    assert left_out() == []  # only an event tells
    result = asset_runs.run([*ASSETS, upon_leads, upon_orders])
    assert result.success
    others = {f"read_models/{model.name}" for model in MODELS} - {"read_models/lead_analytics"}
    assert set(asset_runs.metadata(result)) == others | {"upon_orders"}
    [failed] = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert (failed.asset_key.path[-1], failed.check_name) == ("lead_analytics", "can_be_folded")
    assert str(failed.metadata["reason"].value).startswith("read_models/models/lead_analytics.py: it cannot be folded")
    with database.connection() as connection:
        builds = progress.builds(connection)
    assert {name: build.position for name, build in builds.items()} == dict.fromkeys(
        others, EventStore(database).settled_position()
    )
    assert left_out() == ["read_models/lead_analytics"]
    with pytest.raises(PipelinesError, match=r"^read_models/models/lead_analytics\.py: it cannot be folded"):
        asset_runs.run(ASSETS, AssetSelection.assets(AssetKey(["read_models", "lead_analytics"])).without_checks())
    misspelt = count("odd", "Odd", "lead_created", where="nosuch")
    for columns, passes in ((LEADS.columns, True), ((*LEADS.columns, misspelt), False)):  # asked about, not folded
        monkeypatch.setitem(READ_MODELS, "lead_analytics", replace(LEADS, columns=columns))
        key = AssetCheckKey(AssetKey(["read_models", "lead_analytics"]), "can_be_folded")
        [told] = asset_runs.run(ASSETS, AssetSelection.checks(key)).get_asset_check_evaluations()
        assert told.passed is passes
        assert bool(left_out()) is not passes


@pytest.mark.usefixtures("asset_runs")
def test_runs_that_nobody_starts_leave_out_what_cannot_be_made(
    database: ConnectionPool,
    instance: DagsterInstance,
    servers: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A file that lands, and the night, make all but what derives from a misspelt read model; no other check is run."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    # A schedule opens Dagster's storage by itself.
    opens = {**dagster_environment(servers), "DAGSTER_HOME": instance.root_directory}
    for name in ("PIPELINES_DAGSTER_DATABASE_URL", "DAGSTER_HOME"):
        monkeypatch.setenv(name, opens[name])
    (tmp_path / "landing" / "mine").mkdir(parents=True)
    (tmp_path / "landing" / "mine" / "orders.jsonl").write_text("{}\n")
    os.utime(tmp_path / "landing" / "mine" / "orders.jsonl", (0, 0))
    graph = defs.resolve_asset_graph()

    def asked() -> list[RunRequest]:
        given: dict[str, Any] = {"instance": instance, "resources": {"platform": Platform()}}
        given["repository_def"] = defs.get_repository_def()
        with build_sensor_context(**given) as of_sensor, build_schedule_context(**given) as of_schedule:
            return [*landing_folder(of_sensor), nightly_lineage(of_schedule)]

    for request in asked():
        assert isinstance(request, RunRequest)
        assert (request.asset_selection, request.asset_check_keys) == (None, None)
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    misspelt = count("odd", "Odd", "order_placed", where="nosuch")
    orders = READ_MODELS["order_state"]
    monkeypatch.setitem(READ_MODELS, "order_state", replace(orders, columns=(*orders.columns, misspelt)))
    behind = AssetSelection.assets(asset_key(orders)).downstream().resolve(graph) - {asset_key(orders)}
    assert len(behind) > 10
    for request, job in zip(asked(), (landing, lineage), strict=True):
        every = job.selection.resolve(graph)
        assert set(request.asset_selection or ()) == every - behind
        checks = {key for key in job.selection.resolve_checks(graph) if key.asset_key not in behind}
        assert set(request.asset_check_keys or ()) == checks
        assert request.tags["pipelines/kept_back"] == str(len(behind & every))


def test_a_held_version_is_warned_of(database: ConnectionPool, asset_runs: AssetRuns) -> None:
    """While the code declares another version than the one that is served, a check warns, and stops nothing."""
    former = replace(LEADS, columns=LEADS.columns[:-1])
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    with database.connection() as connection:
        projector.advance(connection, [former], EventStore(database).settled_position())
    rebuild.rebuild(database, LEADS, EventStore(database).settled_position())
    rebuild.go_back(database, "lead_analytics", EventStore(database).settled_position())
    result = asset_runs.run([*ASSETS, *CHECKS], leads_only())
    assert result.success
    assert asset_runs.broken(result) == {"serves_its_declaration"}
    assert evaluations(result)["serves_its_declaration"].severity.value == "WARN"


def test_an_empty_key_and_a_position_ahead_are_found(database: ConnectionPool, asset_runs: AssetRuns) -> None:
    """Rows with an empty key, and a checkpoint past the end of the log, fail their checks."""
    EventStore(database).append_batch("saas", simulate(EVENTS, 1))
    asset_runs.run(ASSETS, leads_only())
    with database.connection() as connection:
        connection.execute(
            f"update {sql.table(LEADS)} set lead_id = '' where lead_id = (select max(lead_id) from {sql.table(LEADS)})"
        )
        connection.execute("update progress.checkpoints set position = position + 1")
    with database.connection() as connection:
        assert connection.execute("select count(*) from progress.checkpoints").fetchone() == (1,)
    found = dict(
        checking.look(database, LEADS, ["position_is_settled", "no_invalid_key"], everything=True, built=False)
    )
    assert {name: finding.passed for name, finding in found.items()} == {
        "position_is_settled": False, "no_invalid_key": False
    }  # fmt: skip
    assert found["no_invalid_key"].facts["empty_keys"] == 1


def test_models_advance_when_the_log_has_grown(
    database: ConnectionPool, asset_runs: AssetRuns, instance: DagsterInstance
) -> None:
    """The sensor asks for the models that new events change, once for each position, and is quiet otherwise."""

    def look() -> RunRequest | SkipReason:
        with build_sensor_context(instance=instance, resources={"platform": Platform()}) as context:
            [asked] = log_has_grown(context)
            return asked

    assert isinstance(look(), SkipReason)
    events = list(simulate(EVENTS, 1))
    EventStore(database).append_batch("saas", events)
    asked = look()
    assert isinstance(asked, RunRequest)
    assert asked.run_key == str(EventStore(database).settled_position())
    asset_runs.run(ASSETS)
    assert isinstance(look(), SkipReason)
    EventStore(database).append_batch("saas", few(events))
    asked = look()
    assert isinstance(asked, RunRequest)
    behind = [model.name for model in MODELS if any(event.event_type in model.events for event in few(events))]
    assert asked.tags["pipelines/behind"] == str(len(behind)) == "4"  # the lead, the campaign, the funnel and the day
    with database.connection() as connection:
        at = progress.position_of(connection, sql.table(LEADS))
        assert projector.behind(connection, MODELS, at + 1, after=at) != []
        assert projector.behind(connection, MODELS, at + 1, after=at + 1) == []


def test_a_wrong_row_stays_found_until_it_is_put_right(database: ConnectionPool) -> None:
    """What a check has found is found again by the next run, whatever its events touch; and no more once repaired."""
    store, events = EventStore(database), list(simulate(EVENTS, 1))

    def found(*, everything: bool) -> bool:
        with database.connection() as connection:
            projector.advance(connection, [LEADS], store.settled_position())
        looked = checking.look(database, LEADS, ["live_equals_replay"], everything=everything, built=True)
        return not dict(looked)["live_equals_replay"].passed

    store.append_batch("saas", events)
    assert not found(everything=False)
    with database.connection() as connection:
        table = sql.table(LEADS)
        connection.execute(f"update {table} set _emails_sent = 99 where lead_id = (select min(lead_id) from {table})")
    assert not found(everything=False)  # no event has touched it
    assert found(everything=True)
    store.append_batch("saas", few(events))
    assert found(everything=False)
    assert rebuild.rebuild(database, LEADS, store.settled_position()).repaired == 1
    assert not found(everything=False)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_late_event_rewrites_the_touched_rows_and_no_other(database: ConnectionPool, model: ReadModel) -> None:
    """Events of ninety days ago change the rows of their keys as a replay would; every other row is not written."""
    started = {"saga_id": "1", "saga": "campaign_launch"}
    saga = NewEvent("test", "saga", "saga-1", "saga_started", datetime(2017, 6, 1, tzinfo=UTC), started)
    store, events = EventStore(database), [*simulate(EVENTS, 1), saga, *RARE]
    first = {event.event_type: event for event in reversed(events) if event.event_type in model.events}
    late = [
        replace(event, event_id=f"late-{kind}", occurred_at=event.occurred_at - timedelta(days=90))
        for kind, event in first.items()
    ]
    store.append_batch("saas", events)
    with database.connection() as connection:
        projector.advance(connection, [model], store.settled_position())
    before = written(database, model)
    at = store.settled_position()
    store.append_batch("saas", late)
    with database.connection() as connection:
        touched = projector.advance(connection, [model], store.settled_position())[model.name].touched
        keys = connection.execute(
            f"select distinct {sql.keys(model)} from ({sql.events(model, sql.NEW)}) as new "
            f"where {' and '.join(f'{name} is not null' for name in model.key)}",
            {"after": at, "up_to": store.settled_position()},
        ).fetchall()
    after = written(database, model)
    assert {key for key in after if after[key] != before.get(key)} == set(keys)
    assert len(keys) == touched > 0
    with database.connection() as connection:
        assert comparison.differences(connection, model).differing == []


def test_an_erasure_leaves_every_model_equal_to_its_replay(
    database: ConnectionPool, asset_runs: AssetRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models never held what is erased: after it they advance, no row is written, and each equals its replay."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    store, events = EventStore(database), list(simulate(EVENTS, 1))
    person = {
        "lead_id": "ann", "company_id": "c", "company": "C", "industry": "i", "company_size": 5, "lead_source": "web",
        "name": "Ann Unmistakable", "email": "ann@Example.com",
    }  # fmt: skip
    created = NewEvent("test", "ann", "lead-ann", "lead_created", datetime(2017, 6, 1, tzinfo=UTC), person)
    store.append_batch("saas", [*events, created])
    with database.connection() as connection:
        projector.advance(connection, MODELS, store.settled_position())
    before = {model.name: written(database, model) for model in MODELS}
    erased = ["erase", "--tenant", "saas", "--subject", "lead-ann", "--json"]
    assert CliRunner().invoke(pipelines, erased, catch_exceptions=False).exit_code == 0
    with database.connection() as connection:
        done = projector.advance(connection, MODELS, store.settled_position())
        lead = connection.execute(
            "select t::text, email_domain from read_models.lead_analytics as t where lead_id = 'ann'"
        ).fetchone()
        assert [name for model in MODELS for name in comparison.differences(connection, model).differing] == []
    assert {name: advanced.touched for name, advanced in done.items()} == dict.fromkeys(done, 0)
    assert {model.name: written(database, model) for model in MODELS} == before
    assert lead is not None
    assert "unmistakable" not in lead[0].lower()
    assert "ann@" not in lead[0].lower()
    assert lead[1] == "example.com"  # derived before sealing, and no personal field: decision 9
