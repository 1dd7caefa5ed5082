"""What runs left undone is known to the next build, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from dagster import (
    AssetCheckResult,
    AssetCheckSeverity,
    AssetKey,
    AssetSelection,
    DagsterRunStatus,
    Definitions,
    asset,
    asset_check,
    define_asset_job,
    in_process_executor,
)

from analytics_pipelines import connections
from analytics_pipelines.automation.unfinished import unfinished
from analytics_pipelines.local.postgres import DAGSTER_DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster import DagsterInstance, ExecuteInProcessResult

    from analytics_pipelines.settings import Settings

broken: set[str] = set()
"""What fails, by name, while it stands here."""


def _fail(name: str) -> None:
    if name in broken:
        raise RuntimeError(name)


@asset
def first() -> None:
    """Is always made."""


@asset(deps=[first])
def second() -> None:
    """Fails by itself."""
    _fail("second")


@asset(deps=[second])
def third() -> None:
    """Is kept back when the second or one of its checks fails."""


@asset_check(asset=second, blocking=True)
def blocks() -> AssetCheckResult:
    """Is an error."""
    _fail("blocks")
    return AssetCheckResult(passed="check" not in broken)


@asset_check(asset=first)
def warns() -> AssetCheckResult:
    """Never passes, and is a warning."""
    return AssetCheckResult(passed=False, severity=AssetCheckSeverity.WARN)


JOB = define_asset_job("small", selection=AssetSelection.all(), executor_def=in_process_executor)
DEFINITIONS = Definitions(assets=[first, second, third], asset_checks=[blocks, warns], jobs=[JOB])
NAMES = {"first", "second", "third"}


@pytest.fixture(autouse=True)
def clean(instance: DagsterInstance) -> Iterator[None]:
    """Leave nothing of these assets to other tests."""
    yield
    broken.clear()
    instance.wipe_assets([AssetKey(name) for name in sorted(NAMES)])


def run(instance: DagsterInstance, *failing: str, only: frozenset[str] = frozenset(NAMES)) -> ExecuteInProcessResult:
    """Run the job while these fail."""
    broken.clear()
    broken.update(failing)
    return DEFINITIONS.resolve_job_def("small").execute_in_process(
        instance=instance, raise_on_error=False, asset_selection=[AssetKey(name) for name in sorted(only)]
    )


def left(instance: DagsterInstance) -> set[str]:
    return set(unfinished(instance, DEFINITIONS, NAMES))


def test_nothing_is_left_of_a_run_that_went_well(instance: DagsterInstance) -> None:
    """Neither of the first run, nor of none; a warning holds nobody back."""
    assert left(instance) == set()
    assert run(instance).success
    assert left(instance) == set()


@pytest.mark.parametrize("what", ["second", "check", "blocks"])
def test_what_failed_and_what_it_kept_back_is_left_until_it_is_made(instance: DagsterInstance, what: str) -> None:
    """An asset that failed, a check that did not pass, a check that could not be run: each with what waits for it."""
    assert run(instance).success
    assert not run(instance, what).success
    assert left(instance) == {"second", "third"}
    assert run(instance, only=frozenset({"first"})).success  # another run that went well does not make one forget
    assert left(instance) == {"second", "third"}
    assert run(instance, only=frozenset({"second", "third"})).success
    assert left(instance) == set()


def test_of_a_run_that_was_killed_all_that_it_had_not_made_is_left(instance: DagsterInstance) -> None:
    """While a run is going on nothing is said of what it will make; once it is ended, it is left."""
    assert run(instance).success
    job = DEFINITIONS.resolve_job_def("small")
    planned = instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    assert left(instance) == set()
    instance.report_run_canceled(planned, "killed")
    assert left(instance) == NAMES
    assert run(instance).success
    assert left(instance) == set()


def test_dagsters_storage_connects_once(instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of it, one thing after the other, goes through the connections that it keeps."""

    def connect(*_: object, **__: object) -> None:
        raise AssertionError("another connection")

    names = [AssetKey(name) for name in sorted(NAMES)]
    for _ in range(2):
        assert instance.get_runs(limit=1) is not None
        assert instance.get_asset_records(names) is not None
        monkeypatch.setattr("psycopg2.connect", connect)


def test_dagsters_storage_outlives_its_connections(instance: DagsterInstance, servers: Settings) -> None:
    """After a restart of the server the connections that it keeps are made anew, and nothing fails."""
    names = [AssetKey(name) for name in sorted(NAMES)]
    assert instance.get_asset_records(names) is not None
    with psycopg.connect(connections.admin_url(servers), autocommit=True) as admin:
        ended = admin.execute(
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where datname = %s", [DAGSTER_DATABASE]
        ).fetchone()
    assert ended is not None
    assert ended[0] > 0
    assert instance.get_asset_records(names) is not None
    assert instance.get_runs(limit=1) is not None
