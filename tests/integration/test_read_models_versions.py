"""Versions of read models: built beside, switched, gone back to, repaired, while readers and writers go on."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner

from analytics_pipelines import connections
from analytics_pipelines.cli import pipelines
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion.simulator import simulate
from analytics_pipelines.read_models import comparison, projector, rebuild, sql, versions
from analytics_pipelines.read_models.columns import count, total
from analytics_pipelines.read_models.models import READ_MODELS

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel
    from analytics_pipelines.settings import Settings

EVENTS = 1_000
LEADS = READ_MODELS["lead_analytics"]
CAMPAIGNS = READ_MODELS["campaign_performance"]
ORDERS = READ_MODELS["order_state"]
MODELS = [LEADS, CAMPAIGNS, ORDERS]
SENT = count("mails", "E-mails sent", "email_sent")


def wider(model: ReadModel) -> ReadModel:
    """The model with one more column, before all others."""
    return replace(model, columns=(replace(SENT, events=tuple(model.events)), *model.columns))


def narrower(model: ReadModel) -> ReadModel:
    """The model without its last column."""
    return replace(model, columns=model.columns[:-1])


def settled(pool: ConnectionPool) -> int:
    return EventStore(pool).settled_position()


def append(pool: ConnectionPool, tenant: str, seed: int = 1) -> None:
    EventStore(pool).append_batch(tenant, simulate(EVENTS, seed))


def advance(pool: ConnectionPool, *models: ReadModel) -> dict[str, projector.Advanced]:
    with pool.connection() as connection:
        return projector.advance(connection, models, settled(pool))


def columns(pool: ConnectionPool, model: ReadModel) -> list[str]:
    """The columns of the public view."""
    with pool.connection() as connection:
        found = connection.execute(f"select * from read_models.{model.name} limit 0").description or ()
        return [column.name for column in found]


def states(pool: ConnectionPool, model: ReadModel) -> dict[str, str]:
    """The versions in the account, with their state."""
    with pool.connection() as connection:
        return {entry.version.version: entry.state for entry in versions.entries(connection, model.name)}


def tables(pool: ConnectionPool) -> set[str]:
    """The tables in the schema of the read models."""
    with pool.connection() as connection:
        rows = connection.execute(
            "select 'read_models.' || relname from pg_class "
            "where relnamespace = 'read_models'::regnamespace and relkind = 'r' and relname <> 'versions'"
        )
        return {name for (name,) in rows.fetchall()}


def differing(pool: ConnectionPool, model: ReadModel) -> list[str]:
    """The keys whose served rows are not those of a replay."""
    with pool.connection() as connection:
        entry = versions.served(connection, model.name)
        assert entry is not None
        found = comparison.differences(connection, entry.version)
        assert found.keys > 0
        return found.differing


@pytest.fixture
def command(database_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `pipelines` over the test's database and gives what it prints."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(pipelines, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_it_is_built_beside_switched_and_gone_back_from(database: ConnectionPool, model: ReadModel) -> None:
    """The new version equals a replay, the former one is kept, and once gone back to, caught up and held."""
    append(database, "one")
    advance(database, model)
    old, new = sql.version(model), sql.version(wider(model))
    assert rebuild.rebuild(database, wider(model), settled(database)).former == old
    assert columns(database, model)[-1] == "mails"
    assert differing(database, model) == []
    assert states(database, model) == {new: "served", old: "former"}

    append(database, "two")
    advance(database, wider(model))
    assert rebuild.go_back(database, model.name, settled(database)).version == old
    assert "mails" not in columns(database, model)
    append(database, "three", 2)
    assert rebuild.changed(database, [wider(model)]) == []  # held
    assert advance(database, wider(model))[model.name].version == old
    assert differing(database, model) == []

    rebuild.rebuild(database, wider(model), settled(database))
    assert differing(database, model) == []
    assert states(database, model) == {new: "served", old: "former"}
    advance(database, wider(model))
    with database.connection() as connection:
        found = connection.execute(f"select count(*), sum(mails) from read_models.{model.name}").fetchone()
    assert found is not None
    assert found[1] > 0


def test_what_is_older_than_the_last_is_dropped(database: ConnectionPool) -> None:
    """Two versions have tables, those by day included; what was left from before there was an account goes, too."""
    append(database, "one")
    advance(database, CAMPAIGNS, LEADS)
    with database.connection() as connection:
        connection.execute("create table read_models.campaign_performance__v01234567__days (day date)")
    chain = [wider(CAMPAIGNS), narrower(CAMPAIGNS)]
    for model in chain:
        rebuild.rebuild(database, model, settled(database))
    kept = {name for model in chain for name in (sql.table(model), sql.days(model))}
    assert tables(database) == {*kept, sql.table(LEADS)}
    assert states(database, CAMPAIGNS) == {sql.version(chain[1]): "served", sql.version(chain[0]): "former"}


def test_views_built_upon_it_survive_added_columns(database: ConnectionPool) -> None:
    """A column added in front of all others takes its place at the end, and a view built on the model stays."""
    append(database, "one")
    advance(database, LEADS)
    with database.connection() as connection:
        connection.execute("create view staging.upon as select lead_id, emails_sent from read_models.lead_analytics")
    before = columns(database, LEADS)
    rebuild.rebuild(database, wider(LEADS), settled(database))
    assert columns(database, LEADS) == [*before, "mails"]
    with database.connection() as connection:
        found = connection.execute("select count(*) > 0, sum(emails_sent) > 0 from staging.upon").fetchone()
    assert found == (True, True)


def test_readers_see_no_error_while_versions_are_switched(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Readers in a loop, with a column added, removed and a version gone back to: every answer is whole."""
    append(database, "one")
    advance(database, LEADS)
    url = connections.database_url(database_settings)
    expected = len(set_of_leads(database))
    stop, failures, answers = threading.Event(), list[str](), [0, 0, 0]

    def read(place: int) -> None:
        try:
            with psycopg.connect(url, options=connections.RUNTIME_OPTIONS, autocommit=True) as connection:
                while not stop.is_set():
                    row = connection.execute(
                        "select count(*), count(distinct lead_id) from read_models.lead_analytics where emails_sent>-1"
                    ).fetchone()
                    assert row == (expected, expected)
                    answers[place] += 1
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(repr(error))

    readers = [threading.Thread(target=read, args=[place]) for place in range(3)]
    for reader in readers:
        reader.start()
    try:
        for model in (wider(LEADS), LEADS, narrower(LEADS), wider(LEADS)):
            rebuild.rebuild(database, model, settled(database))
            rebuild.go_back(database, LEADS.name, settled(database))
            rebuild.rebuild(database, model, settled(database))
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []
    assert min(answers) > 0


def set_of_leads(pool: ConnectionPool) -> set[str]:
    with pool.connection() as connection:
        return {lead for (lead,) in connection.execute("select lead_id from read_models.lead_analytics").fetchall()}


def test_a_switch_never_goes_back_in_the_log(database: ConnectionPool) -> None:
    """What is built to an earlier position, as a run that began before, first comes as far as what is served."""
    append(database, "one")
    began = settled(database)
    advance(database, LEADS)
    append(database, "two", 2)
    advance(database, LEADS)
    before = rows(database)
    rebuild.rebuild(database, wider(LEADS), began)
    assert "mails" in columns(database, LEADS)
    assert rows(database) == before


def rows(pool: ConnectionPool) -> set[tuple[str, str, int]]:
    with pool.connection() as connection:
        return set(
            connection.execute("select tenant_id, lead_id, emails_sent from read_models.lead_analytics").fetchall()
        )


def test_a_long_query_delays_a_switch_and_nobody_else(database: ConnectionPool) -> None:
    """While a transaction holds the view, the switch tries again; other readers are answered; then it is switched."""
    append(database, "one")
    advance(database, LEADS)
    with database.connection() as slow:
        slow.execute("select count(*) from read_models.lead_analytics")
        switching = threading.Thread(target=rebuild.rebuild, args=[database, wider(LEADS), settled(database)])
        switching.start()
        for _ in range(5):
            with database.connection() as reader:
                reader.execute("set statement_timeout = '20s'")
                assert reader.execute("select count(*) from read_models.lead_analytics").fetchone() != (0,)
            switching.join(0.4)
        assert switching.is_alive()
        assert "mails" not in columns(database, LEADS)
    switching.join()
    assert "mails" in columns(database, LEADS)


@pytest.mark.parametrize(
    "point",
    ["build", "register", "catch_up", "differences", "note_checked", "publish", "serve", "note_change", "_clean_up"],
)
def test_a_crash_anywhere_leaves_the_served_version_and_the_next_run_completes(
    database: ConnectionPool, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step does not return, readers have all rows of the former version, and a second rebuild ends it."""
    model = CAMPAIGNS
    append(database, "one")
    advance(database, model)
    append(database, "two")
    rooms = (rebuild, projector, comparison, versions, rebuild.progress)
    place: Any = next(module for module in rooms if point in vars(module))

    def crash(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, point, crash)
        with pytest.raises(KeyboardInterrupt):
            rebuild.rebuild(database, wider(model), settled(database))
    assert ("mails" in columns(database, model)) is (point == "_clean_up")
    assert differing(database, model) == []
    append(database, "three", 2)
    advance(database, wider(model))
    rebuild.rebuild(database, wider(model), settled(database))
    assert "mails" in columns(database, model)
    assert differing(database, model) == []
    assert set(states(database, model).values()) == {"served", "former"}


def test_what_differs_from_a_replay_is_never_served(database: ConnectionPool) -> None:
    """A declaration whose fold depends on chance is refused before the switch, and leaves nothing behind."""
    append(database, "one")
    advance(database, LEADS)
    chance = total("chance", "Chance", "lead_created", value="random()::numeric")
    unsound = replace(LEADS, columns=(*LEADS.columns, chance))
    with pytest.raises(PipelinesError, match=r"lead_analytics__v\w+, built beside, differs from a replay in one/"):
        rebuild.rebuild(database, unsound, settled(database))
    assert "chance" not in columns(database, LEADS)
    assert tables(database) == {sql.table(LEADS)}


@pytest.mark.parametrize("model", [CAMPAIGNS, ORDERS], ids=lambda model: model.name)
def test_a_rebuild_puts_wrong_rows_right_and_leaves_all_others(
    database: ConnectionPool, model: ReadModel, command: Any
) -> None:
    """Changed, missing and invented rows are those of a replay again; no other row is written; --key repairs one."""
    append(database, "one")
    advance(database, model)
    table, key = sql.table(model), next(iter(model.key))
    with database.connection() as connection:
        keys = [row[0] for row in connection.execute(f"select {key} from {table} order by 1 limit 3").fetchall()]
        connection.execute(f"update {table} set _streams = array['elsewhere'] where {key} = any(%s)", [keys[:2]])
        connection.execute(f"delete from {table} where {key} = %s", [keys[2]])
        connection.execute(
            f"insert into {table} select (jsonb_populate_record(t, %s)).* from {table} as t where {key} = %s",
            [json.dumps({key: "invented"}), keys[0]],
        )
        if model.by_day:
            connection.execute(f"update {sql.days(model)} set _last_position = 0 where {key} = %s", [keys[0]])
    wrong = {f"one/{name}" for name in (*keys, "invented")}
    assert set(differing(database, model)) == wrong
    before = written(database, model)

    done = json.loads(command("rebuild", model.name, "--tenant", "one", "--key", keys[0], "--json"))
    assert (done["repaired"], done["examples"]) == (1, [f"one/{keys[0]}"])
    assert set(differing(database, model)) == wrong - {f"one/{keys[0]}"}
    done = json.loads(command("rebuild", model.name, "--json"))
    assert (done["repaired"], set(done["examples"])) == (3, wrong - {f"one/{keys[0]}"})
    assert differing(database, model) == []
    after = written(database, model)
    assert {name for name in after if after[name] != before.get(name)} == {("one", name) for name in keys}
    assert "equals a replay" in command("rebuild", model.name)


def written(pool: ConnectionPool, model: ReadModel) -> dict[tuple[str, str], tuple[str, str]]:
    """By tenant and key: which transaction wrote the row, and where it lies."""
    key = next(iter(model.key))
    with pool.connection() as connection:
        rows = connection.execute(f"select tenant_id, {key}, xmin::text, ctid::text from {sql.table(model)}").fetchall()
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def test_the_command_switches_lists_and_goes_back(
    database: ConnectionPool, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pipelines rebuild` builds what the code declares, says which versions there are, and undoes the switch."""
    append(database, "one")
    advance(database, LEADS)
    with pytest.raises(PipelinesError, match="no former version"):
        CliRunner().invoke(pipelines, ["rebuild", "lead_analytics", "--back"], catch_exceptions=False)
    monkeypatch.setitem(READ_MODELS, "lead_analytics", wider(LEADS))
    old, new = sql.version(LEADS), sql.version(wider(LEADS))
    assert f"{new} is served instead of {old}" in command("rebuild", "lead_analytics")
    assert "it is held until" in command("rebuild", "lead_analytics", "--back")
    found = json.loads(command("rebuild", "--list", "--json"))
    shown = [(row["version"], row["state"], row["held"], row["declared"]) for row in found]
    assert shown == [(old, "served", True, False), (new, "former", False, True)]
    assert "served, held" in command("rebuild", "--list", "lead_analytics")
    assert f"{new} is served instead of {old}" in command("rebuild", "lead_analytics")
    for wrong in (["nobody"], [], ["lead_analytics", "--key", "1"], ["lead_analytics", "--back", "--list"]):
        assert CliRunner().invoke(pipelines, ["rebuild", *wrong]).exit_code == 2


@pytest.mark.prove
def test_two_workers_never_count_twice(database: ConnectionPool) -> None:
    """Workers that advance, rebuild and go back at the same time as writers append leave the rows of a replay."""
    append(database, "zero")
    advance(database, *MODELS)
    failures: list[str] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for number in range(6):
                append(database, f"{seed}-{number}", chance.randint(1, 9))
                advance(database, *chance.sample(MODELS, chance.randint(1, 3)))
                if number % 3 == seed:
                    model = chance.choice([wider(LEADS), LEADS])
                    rebuild.rebuild(database, model, settled(database))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(repr(error))

    workers = [threading.Thread(target=work, args=[seed]) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    advance(database, *MODELS)
    assert [differing(database, model) for model in MODELS] == [[], [], []]


def test_what_cannot_be_rebuilt_keeps_nobody_else_back(database: ConnectionPool) -> None:
    """Of two changed models one is unsound: the other is rebuilt, and the error names the first."""
    append(database, "one")
    advance(database, LEADS, CAMPAIGNS)
    unsound = replace(LEADS, columns=(*LEADS.columns, total("chance", "C", "lead_created", value="random()::numeric")))
    changed = rebuild.changed(database, [unsound, wider(CAMPAIGNS), ORDERS])
    assert [model.name for model in changed] == [LEADS.name, CAMPAIGNS.name]
    done, failed = rebuild.rebuild_all(database, changed, settled(database))
    assert list(done) == [CAMPAIGNS.name]
    assert list(failed) == [LEADS.name]
    assert "differs from a replay" in failed[LEADS.name]


def test_changed_words_do_not_wait_for_readers(database: ConnectionPool) -> None:
    """A reader that keeps the view open does not keep models from advancing where only their words have changed."""
    append(database, "one")
    advance(database, LEADS)
    with database.connection() as reader:
        reader.execute("select count(*) from read_models.lead_analytics")
        advance(database, replace(LEADS, grain="One row per tenant and lead, in other words."))
    with database.connection() as connection:
        found = connection.execute("select obj_description('read_models.lead_analytics'::regclass)").fetchone()
    assert found == ("One row per tenant and lead, in other words.",)


def test_a_version_that_a_later_release_wrote_down_is_read(database: ConnectionPool) -> None:
    """What a statement's account holds beyond what this release knows is passed over."""
    append(database, "one")
    advance(database, LEADS)
    with database.connection() as connection:
        connection.execute(
            """update read_models.versions set statements = (statements::jsonb || '{"unheard": 1}')::json"""
        )
    append(database, "two")
    assert advance(database, LEADS)[LEADS.name].touched > 0


def test_a_key_that_nobody_has_is_named(database: ConnectionPool) -> None:
    """Repairing one row says so when there is no such row, rather than that it is right."""
    append(database, "one")
    advance(database, LEADS)
    with pytest.raises(PipelinesError, match="lead_analytics has no row nosuch of one, and the log no event of it"):
        rebuild.rebuild(database, LEADS, settled(database), tenant="one", key="nosuch")


def test_nothing_is_folded_again_without_events_that_have_left(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Once a partition is detached, a rebuild refuses, unless it is told to do without."""
    append(database, "one")
    advance(database, LEADS)
    with database.connection() as connection:
        before = connection.execute("select count(*) from read_models.lead_analytics").fetchone()
    with psycopg.connect(connections.admin_url(database_settings)) as admin:
        admin.execute("update event_log.partitions set detached_at = now() where first_position = 0")
    with pytest.raises(PipelinesError, match="detached, so that lead_analytics, folded again, would miss its events"):
        rebuild.rebuild(database, LEADS, settled(database))
    rebuild.rebuild(database, LEADS, settled(database), from_what_is_left=True)
    with database.connection() as connection:
        assert connection.execute("select count(*) from read_models.lead_analytics").fetchone() == before
