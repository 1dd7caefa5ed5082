"""The rules that every model of the dbt project keeps."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from analytics_pipelines.warehouse.manifest import PROJECT, Model, load_models

MODELS = load_models()
MARTS = [model for model in MODELS if model.key[0] == "marts"]
INCREMENTAL = [model for model in MODELS if model.materialization == "incremental"]


def name(model: Model) -> str:
    """Name a parameter."""
    return model.name


@pytest.fixture(scope="module")
def nodes() -> dict[str, dict[str, Any]]:
    """The models as dbt knows them, by name."""
    manifest = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())
    return {node["name"]: node for node in manifest["nodes"].values() if node["resource_type"] == "model"}


def test_models_live_in_three_schemas() -> None:
    """A model is a view in staging, or stands in intermediate or marts; dbt puts no prefix before the schema."""
    assert {model.key[0] for model in MODELS} == {"staging", "intermediate", "marts"}
    assert {model.materialization for model in MODELS if model.key[0] == "staging"} == {"view"}


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_a_description_begins_with_the_grain(model: Model) -> None:
    """Every model says first what one row is; every column is described, typed and comes after tenant_id."""
    assert model.description.startswith("One row per ")
    assert model.columns[0].name == "tenant_id"
    assert [column.name for column in model.columns if not (column.description and column.data_type)] == []


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_a_time_says_that_it_is_utc(model: Model) -> None:
    """A moment is a timestamptz called `_at` (or `as_of`, `watermark`) and says UTC; a day is a date called `_on`."""
    for column in model.columns:
        if column.data_type == "timestamptz":
            assert column.name.endswith("_at") or column.name in {"as_of", "watermark"}
            assert "UTC" in column.description
        assert (column.data_type == "date") == column.name.endswith("_on")
        assert (column.data_type == "boolean") == column.name.startswith(("is_", "has_"))


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_only_staging_reads_sources(model: Model, nodes: dict[str, dict[str, Any]]) -> None:
    """A table reads models only, so that the log and the read models have one door into the warehouse."""
    sources = [read for read in nodes[model.name]["depends_on"]["nodes"] if read.startswith("source.")]

    assert model.materialization == "view" or sources == []


@pytest.mark.parametrize("model", MARTS, ids=name)
def test_a_mart_has_a_contract_an_owner_and_a_key(model: Model, nodes: dict[str, dict[str, Any]]) -> None:
    """A mart's columns are promised, somebody owns it, and a test that blocks holds its key unique."""
    assert nodes[model.name]["config"]["contract"]["enforced"]
    assert model.owners
    keys = [test for test in model.tests if test.name == f"{model.name}_key_is_unique"]
    assert model.materialization == "view" or [test.is_blocking for test in keys] == [True]


@pytest.mark.parametrize("model", INCREMENTAL, ids=name)
def test_a_mart_is_touched_by_all_that_it_reads(model: Model, nodes: dict[str, dict[str, Any]]) -> None:
    """What a mart reads, behind staging views, is what touches it: no change of an input can be missed."""
    read = {".".join(key) for key in _read(nodes, model.name)}
    config = nodes[model.name]["config"]

    assert set(config["touched_by"]) == read
    columns = set(nodes[model.name]["columns"])
    assert columns >= {config["recompute"], *config["key"]}
    tellers = {".".join(model.key): nodes[model.name]["columns"] for model in INCREMENTAL}
    for relation, kinds in config["touched_by"].items():
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            assert relation not in tellers or kind in tellers[relation], f"{relation} has no column {kind} to tell"


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_a_staging_view_is_a_plain_select(model: Model, nodes: dict[str, dict[str, Any]]) -> None:
    """A mart's condition on its keys reaches the index behind a view only if nothing has to be computed in between.

    What is laid beside each row, by a lateral query, is no obstacle.
    """
    code = nodes[model.name]["raw_code"].lower().replace("with ordinality", "")
    words = re.sub(r"lateral \(.*?\n\)", "", code, flags=re.DOTALL).split()

    assert model.key[0] != "staging" or not {"with", "distinct", "group", "order", "limit", "over"} & set(words)


def _read(nodes: dict[str, dict[str, Any]], name: str) -> set[tuple[str, str]]:
    """Return the tables, marts and read models that a model reads, itself or behind views."""
    found: set[tuple[str, str]] = set()
    for unique_id in nodes[name]["depends_on"]["nodes"]:
        kind, *_, schema, table = unique_id.split(".")
        if kind == "source":
            found.add((schema, table))
        elif nodes[table]["config"]["materialized"] == "view":
            found |= _read(nodes, table)
        else:
            found.add((nodes[table]["schema"], table))
    return found


def test_staging_reads_events_through_the_pin(nodes: dict[str, dict[str, Any]]) -> None:
    """Whoever reads the log does so by the macro that stops at the position the run builds to."""
    log = "source.analytics_pipelines.event_log.events"
    readers = [node for node in nodes.values() if log in node["depends_on"]["nodes"]]

    assert all("macro.analytics_pipelines.events" in node["depends_on"]["macros"] for node in readers)
