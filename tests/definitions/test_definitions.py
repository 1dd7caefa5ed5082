"""The code location as Dagster's own processes load it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetKey, AssetSpec, Definitions

from analytics_pipelines.automation.jobs import landing, lineage
from analytics_pipelines.local.dagster import dagster_environment
from analytics_pipelines.settings import PROJECT_FOLDER, Settings
from analytics_pipelines.warehouse.assets import MODELS

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    from analytics_pipelines.definitions import defs

    return defs


@pytest.fixture(scope="module")
def specs(definitions: Definitions) -> dict[AssetKey, AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


def test_every_asset_says_what_it_is_and_whose(specs: dict[AssetKey, AssetSpec]) -> None:
    """Description, group, owner and kind stand in the catalog for each asset."""
    lacking = {
        key.to_user_string(): [
            name for name in ("description", "group_name", "owners", "kinds", "code_version") if not getattr(spec, name)
        ]
        for key, spec in specs.items()
    }
    assert {key: names for key, names in lacking.items() if names} == {}


def test_an_asset_is_named_like_its_table(specs: dict[AssetKey, AssetSpec]) -> None:
    """A row seen in psql leads back to its asset: the key is schema and table, or says that it is no table."""
    first = {key.path[0] for key in specs}
    assert all(len(key.path) == 2 for key in specs)
    assert first == {
        "sources", "event_log", "read_models", "staging", "intermediate", "marts", "graph", "forecasts", "features",
        "online", "sagas", "vault", "reports",
    }  # fmt: skip


def test_the_lineage_hangs_together(specs: dict[AssetKey, AssetSpec]) -> None:
    """Every parent is an asset, and everything but the sources derives from the log in the end."""
    parents = {key: {dep.asset_key for dep in spec.deps} for key, spec in specs.items()}
    assert {parent for found in parents.values() for parent in found} <= set(specs)
    log = AssetKey(["event_log", "events"])
    loose = {key.to_user_string() for key in specs if key != log and not _reaches(parents, key, log)}
    assert {key for key in loose if not key.startswith("sources/")} == {
        "marts/mart_status",  # about the builds
        "reports/database",  # about the server
    }


def test_every_job_has_a_maximum_runtime_and_sensors_run(definitions: Definitions) -> None:
    """No run lasts for ever, and what should run by itself is switched on."""
    repository = definitions.get_repository_def()
    for job in repository.get_all_jobs():
        if not job.name.startswith("__"):
            assert "dagster/max_runtime" in job.tags, job.name
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "landing_folder",
        "log_has_grown",
        "campaign_launch_sensor",
        "dead_runs",
    }
    switched = [*repository.sensor_defs, *repository.schedule_defs]
    assert all(item.default_status.value == "RUNNING" for item in switched)


def test_runs_that_files_start_leave_long_checks_to_the_night(definitions: Definitions) -> None:
    """What compares whole tables is checked with the lineage, every night; all else also when files or rows come."""
    graph = definitions.resolve_asset_graph()
    every = {key.name for key in lineage.selection.resolve_checks(graph)}
    tests = [test for model in MODELS for test in model.tests]
    nightly = {test.name for test in tests if test.is_nightly}

    assert "fct_orders_holds_every_order_placed" in nightly
    assert every >= {test.name for test in tests}
    found = {key.name for key in landing.selection.resolve_checks(graph)}
    assert found & {test.name for test in tests} == {test.name for test in tests} - nightly


def test_the_demo_can_be_left_out() -> None:
    """With PIPELINES_DEMO=false the lineage begins at the landing folder."""
    code = (
        "from analytics_pipelines.definitions import defs;"
        "print(sorted(s.key.path[1] for s in defs.resolve_all_asset_specs() if s.key.path[0] == 'sources'))"
    )
    environment = {**os.environ, "PIPELINES_DEMO": "false"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['landing']"


def test_dg_accepts_the_definitions(servers: Settings, tmp_path: Path) -> None:
    """`dg check defs` loads the project as `dg dev` does."""
    for name in ("pyproject.toml", "analytics_pipelines", "dbt_project"):
        (tmp_path / name).symlink_to(
            PROJECT_FOLDER / name
        )  # not the folder itself: a developer's .env would rule there
    environment = {**os.environ, **dagster_environment(servers)}
    command = [BIN / "dg", "check", "defs"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_loading_imports_nothing_heavy() -> None:
    """Each run, tick and reload pays for the imports: models and drivers are imported where they are used."""
    heavy = "{'pandas', 'statsmodels', 'networkx', 'matplotlib', 'dbt', 'scipy', 'psycopg', 'redis', 'dagster_dbt'}"
    code = f"import sys, analytics_pipelines.definitions; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


def _reaches(parents: dict[AssetKey, set[AssetKey]], key: AssetKey, goal: AssetKey) -> bool:
    return any(parent == goal or _reaches(parents, parent, goal) for parent in parents[key])
