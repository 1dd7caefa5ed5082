"""Running assets as Dagster does, over a fresh database, with Dagster's own storage on the real Postgres."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from dagster import AssetSelection, DagsterInstance, ExecuteInProcessResult, materialize

from analytics_pipelines.local import accounts, platform
from analytics_pipelines.resources import Platform
from analytics_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path


class AssetRuns:
    """Runs assets and checks of a room in this process, and reads what the runs said."""

    def __init__(self, instance: DagsterInstance) -> None:
        """Take Dagster's storage."""
        self._instance = instance

    def run(self, definitions: Sequence[Any], selection: AssetSelection | None = None) -> ExecuteInProcessResult:
        """Run what is selected of these assets and checks."""
        return materialize(
            definitions, selection=selection, instance=self._instance, resources={"platform": Platform()}
        )

    @staticmethod
    def broken(result: ExecuteInProcessResult) -> set[str]:
        """Return the names of the checks that did not pass."""
        return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}

    @staticmethod
    def metadata(result: ExecuteInProcessResult) -> dict[str, Any]:
        """Return what the catalog was told of each asset."""
        return {
            event.asset_key.to_user_string(): event.step_materialization_data.materialization.metadata
            for event in result.get_asset_materialization_events()
            if event.asset_key is not None
        }


@pytest.fixture
def asset_runs(instance: DagsterInstance, database_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AssetRuns:
    """Runs of assets over the test's database."""
    assert database_settings.database_url is not None
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_settings.database_url.get_secret_value())
    return AssetRuns(instance)


@pytest.fixture
def replicable() -> Callable[[Path], Settings]:
    """Return what makes a platform in a folder whose server is running and writes what a standby needs."""

    def make(home: Path) -> Settings:
        settings = platform.up(Settings(home=home))
        assert settings.admin_database_url is not None
        with psycopg.connect(settings.admin_database_url.get_secret_value(), autocommit=True) as admin:
            admin.execute("alter system set wal_level = 'replica'")
        platform.down(Settings(home=home))
        return platform.up(Settings(home=home))

    return make


@pytest.fixture
def standby() -> Callable[[Path, int], AbstractContextManager[None]]:
    """Return what serves the data of a server that was stopped as those of a standby, on a port."""

    @contextmanager
    def serve(postgres: Path, port: int) -> Generator[None]:
        account = accounts.server_account(postgres)
        data = postgres.resolve() / "data"
        (data / "standby.signal").touch()
        if account is not None:
            shutil.chown(data / "standby.signal", account.pw_uid, account.pw_gid)
        command = [str(accounts.reachable_binaries(account) / "postgres"), "-D", str(data), "-p", str(port)]
        with subprocess.Popen(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **accounts.as_user(account)
        ) as server:
            try:
                deadline = time.monotonic() + 60
                lock = data / "postmaster.pid"
                while not (lock.exists() and lock.read_text().rstrip().endswith("ready")):
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield
            finally:
                server.terminate()

    return serve
