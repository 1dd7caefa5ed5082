"""What dbt says about the project: its models, their columns, what they read, and their tests.

Defines `Model` and `DataTest`, the pure functions that make them of dbt's `manifest.json`, and `load_models()`, which
has dbt write that file when it is missing or older than the project. How something is built is dbt's; how it is shown
is `assets`.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from analytics_pipelines.errors import PipelinesError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
DBT = (sys.executable, "-P", "-c", "from dbt.cli.main import cli; cli(prog_name='dbt')")
"""The command `dbt` of this very environment, whatever the search path says."""

PARSE_SECONDS = 300

Key = tuple[str, str]
"""Schema and table, which is the asset key."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model, with its SQL type."""

    name: str
    data_type: str
    description: str
    is_nullable: bool


@dataclass(frozen=True, slots=True)
class DataTest:
    """A dbt test of a model.

    Attributes:
        unique_id: dbt's name for it.
        name: the check's name.
        description: what it holds.
        is_blocking: what is built from the model must wait until it passes.
        is_nightly: it reads whole tables, too long for the runs that files and rows start all day.
    """

    unique_id: str
    name: str
    description: str
    is_blocking: bool
    is_nightly: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A dbt model.

    Attributes:
        unique_id: dbt's name for it, unique over all kinds of node.
        name: the table's or view's name.
        key: the asset key, schema and name.
        upstream: the asset keys of what it reads.
        events: the event types it reads, if it reads the log.
        description: its grain and what it means.
        columns: in the order of the table.
        owners: as Dagster names them, "team:analytics".
        tags: dbt's tags.
        materialization: table or view.
        code_version: changes with the SQL, and with the project's variables and macros.
        tests: the tests that hold for it.
    """

    unique_id: str
    name: str
    key: Key
    upstream: tuple[Key, ...]
    events: tuple[str, ...]
    description: str
    columns: tuple[Column, ...]
    owners: tuple[str, ...]
    tags: tuple[str, ...]
    materialization: str
    code_version: str
    tests: tuple[DataTest, ...]


def load_models(project: Path = PROJECT) -> tuple[Model, ...]:
    """Read the models of a dbt project, in the order of their names.

    Raises:
        PipelinesError: dbt cannot parse the project.
    """
    path = project / "target" / "manifest.json"
    if is_stale(path, project):
        _parse(path, project)
    return models_of(orjson.loads(path.read_bytes()), project_code(project))


def is_stale(manifest: Path, project: Path) -> bool:
    """Tell whether the manifest is missing or older than anything in the project.

    A folder is as old as the last file added to it or removed from it, so that a removed model is noticed.
    """
    if not manifest.exists():
        return True
    written = manifest.stat().st_mtime_ns
    made_by_dbt = {"target", "logs", ".user.yml"}
    parts = [path for path in project.iterdir() if path.name not in made_by_dbt]
    return any(path.stat().st_mtime_ns > written for part in parts for path in (part, *part.rglob("*")))


def project_code(project: Path = PROJECT) -> str:
    """Return a hash of the code that models share: the project's variables and macros."""
    files = [project / "dbt_project.yml", *sorted((project / "macros").rglob("*.sql"))]
    return _hash(*(file.read_text(encoding="utf-8") for file in files))


def models_of(manifest: Mapping[str, Any], shared_code: str = "") -> tuple[Model, ...]:
    """Turn a manifest into models, in the order of their names.

    Neither the rules of the project nor the seed with their exceptions are of a model: both are left out.
    """
    sources = [source for source in manifest["sources"].values() if _is_asset(source)]
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    tests: dict[str, list[DataTest]] = {}
    for node in manifest["nodes"].values():
        if node["resource_type"] == "test":
            tests.setdefault(attached_model(node), []).append(_test(node))
    keys = {source["unique_id"]: _key(source, "identifier") for source in sources}
    keys |= {model["unique_id"]: _key(model, "name") for model in models}
    made = (_model(model, keys, tests.get(model["unique_id"], []), shared_code) for model in models)
    return tuple(sorted(made, key=lambda model: model.key))


def attached_model(test: Mapping[str, Any]) -> str:
    """Return the unique id of the node that a test belongs to: that of its YAML, else the first that it reads."""
    return test.get("attached_node") or test["depends_on"]["nodes"][0]


def _model(node: Mapping[str, Any], keys: Mapping[str, Key], tests: list[DataTest], shared_code: str) -> Model:
    owner = node["config"]["meta"].get("owner")
    return Model(
        unique_id=node["unique_id"],
        name=node["name"],
        key=_key(node, "name"),
        upstream=tuple(keys[upstream] for upstream in node["depends_on"]["nodes"] if upstream in keys),
        events=tuple(node["config"]["meta"].get("events", ())),
        description=node["description"].strip(),
        columns=tuple(_column(column) for column in node["columns"].values()),
        owners=(owner,) if owner else (),
        tags=tuple(node["tags"]),
        materialization=node["config"]["materialized"],
        code_version=_hash(node["checksum"]["checksum"], shared_code)[:12],  # as macro code_version has it
        tests=tuple(sorted(tests, key=lambda test: test.name)),
    )


def _column(column: Mapping[str, Any]) -> Column:
    return Column(
        name=column["name"],
        data_type=column["data_type"] or "",
        description=column["description"].strip(),
        is_nullable=all(constraint["type"] != "not_null" for constraint in column["constraints"]),
    )


def _test(node: Mapping[str, Any]) -> DataTest:
    return DataTest(
        unique_id=node["unique_id"],
        name=node["name"],
        description=node["description"].strip(),
        is_blocking=node["config"]["severity"].lower() == "error",
        is_nightly="nightly" in node["tags"],
    )


def _hash(*texts: str) -> str:
    return hashlib.md5("".join(texts).encode(), usedforsecurity=False).hexdigest()


def _is_asset(source: Mapping[str, Any]) -> bool:
    """Tell whether a source is part of the lineage; bookkeeping says in its `meta` that it is not."""
    return source["meta"].get("is_asset", True)


def _key(node: Mapping[str, Any], name: str) -> Key:
    return node["schema"], node[name]


def _parse(manifest: Path, project: Path) -> None:
    """Have dbt write the manifest; several processes may ask at once."""
    import subprocess

    from filelock import FileLock

    manifest.parent.mkdir(exist_ok=True)
    with FileLock(manifest.parent / "parse.lock", timeout=PARSE_SECONDS):
        if not is_stale(manifest, project):
            return
        folders = ("--project-dir", project, "--profiles-dir", project, "--target-path", manifest.parent)
        command = (*DBT, "--quiet", "--no-use-colors", "--log-level-file", "none", "parse", *folders)
        result = subprocess.run(  # noqa: S603 - our own interpreter
            command, cwd=project, capture_output=True, text=True, timeout=PARSE_SECONDS, check=False
        )
        if result.returncode != 0 or not manifest.exists():
            reason = " ".join((result.stdout + result.stderr).split())
            raise PipelinesError(f"dbt cannot parse {project}: {reason}; correct the project")
