"""Running assets as Dagster does, over a fresh database, with Dagster's own storage on the real Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetSelection, DagsterInstance, ExecuteInProcessResult, materialize

from analytics_pipelines.resources import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analytics_pipelines.settings import Settings


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
