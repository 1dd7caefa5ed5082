"""Rules for models, each a query over dbt's manifest that finds who breaks it.

Python over the manifest, and no singular test of dbt: what a model declares is in the manifest and not in a table, no
server is needed, and the rules hold before anything is built. A rule is named for its violation; `EXCEPTIONS` says who
may break it and why, and an exception that is no longer needed fails, too.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from analytics_pipelines.warehouse.manifest import PROJECT, load_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

load_models()
MANIFEST = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())
NODES = {**MANIFEST["nodes"], **MANIFEST["sources"]}
MODELS = [node for node in MANIFEST["nodes"].values() if node["resource_type"] == "model"]
TABLES = [model for model in MODELS if model["config"]["materialized"] == "incremental"]
MARTS = [model for model in MODELS if model["schema"] == "marts"]

PREFIXES = {"staging": ("stg_",), "intermediate": ("int_",), "marts": ("fct_", "dim_")}
MONEY = {"revenue", "amount", "refunded_amount", "opened_amount", "expected_amount", "won_amount", "amount_now"}

EXCEPTIONS = {
    ("is_named_otherwise", "mart_status"): "it tells of marts, and of no fact or dimension",
}


def inputs_of(model: dict[str, Any]) -> Iterator[str]:
    """Tell what a table reads, in the words of `touched_by`: through views, of the log each event type for itself."""
    for parent in (NODES[name] for name in model["depends_on"]["nodes"]):
        if parent["resource_type"] == "source":
            names = parent["schema"] == "event_log" and model["config"]["meta"].get("events", ())
            yield from (f"event_log.events/{event_type}" for event_type in names or ())
            if parent["schema"] == "read_models":
                yield f"read_models.{parent['name']}"
        elif parent["config"]["materialized"] == "view":
            yield from inputs_of(parent)
        else:
            yield f"{parent['schema']}.{parent['name']}"


def is_named_otherwise() -> Iterator[str]:
    """A model's name says what kind of model it is; its YAML is called like it and stands beside it."""
    for model in MODELS:
        yaml = PurePath(model["patch_path"].partition("://")[2])
        path = PurePath(model["original_file_path"])
        if not model["name"].startswith(PREFIXES[model["schema"]]) or yaml != path.with_suffix(".yml"):
            yield model["name"]


def is_not_told_of_what_it_reads() -> Iterator[str]:
    """What a table reads stands in its `touched_by`: otherwise a change there would not reach it."""
    for model in TABLES:
        named = model["config"]["touched_by"]
        reads = set(inputs_of(model))
        if {read.partition("/")[0] for read in reads} != set(named):
            yield model["name"]


def waits_for_events_that_it_never_reads() -> Iterator[str]:
    """The event types in `touched_by` are among those that the staging views read."""
    for model in TABLES:
        types = model["config"]["touched_by"].get("event_log.events", [])
        told = {f"event_log.events/{event_type}" for event_type in ([types] if isinstance(types, str) else types)}
        if not told <= set(inputs_of(model)):
            yield model["name"]


def has_a_key_that_may_be_null() -> Iterator[str]:
    """Key columns, and the column by which rows are made anew, are columns of the contract and never null."""
    for model in TABLES:
        key = {"tenant_id", *model["config"]["key"], model["config"]["recompute"]}
        never_null = {
            column["name"]
            for column in model["columns"].values()
            if any(constraint["type"] == "not_null" for constraint in column["constraints"])
        }
        if not key <= never_null:
            yield model["name"]


def has_an_index_that_no_tenant_uses() -> Iterator[str]:
    """Every index is over columns of the contract, the tenant first: a BI login always asks for its tenants."""
    for model in TABLES:
        for index in model["config"].get("indexes") or []:
            is_known = set(index["columns"]) <= set(model["columns"])
            if not is_known or (index["columns"][0] != "tenant_id" and index.get("type") != "brin"):
                yield model["name"]


def decides_without_a_unit_test() -> Iterator[str]:
    """A model with a variable in it decides something: a unit test of dbt shows what."""
    tested = {unit["model"] for unit in MANIFEST["unit_tests"].values()}
    for model in MARTS:
        if re.search(r"\bvar\(", model["raw_code"]) and model["name"] not in tested:
            yield model["name"]


def adds_up_currencies() -> Iterator[str]:
    """Whoever shows money shows its currency."""
    for model in TABLES:
        if MONEY & model["columns"].keys() and "currency" not in model["columns"]:
            yield model["name"]


def hides_a_read_model_behind_a_with() -> Iterator[str]:
    """Staging views are plain selects: Postgres would not look for a mart's touched keys in what a `with` gives."""
    for model in MODELS:
        if model["schema"] == "staging" and re.match(r"\s*with\b", model["raw_code"]):
            yield model["name"]


def is_read_by_nobody() -> Iterator[str]:
    """Staging and intermediate models are there for marts."""
    read = {name for model in MODELS for name in model["depends_on"]["nodes"]}
    for model in MODELS:
        if model["schema"] != "marts" and model["unique_id"] not in read:
            yield model["name"]


def has_a_test_that_explains_nothing() -> Iterator[str]:
    """Every test is named for what it holds, after its model, and described: it is a check that people read."""
    for node in MANIFEST["nodes"].values():
        if node["resource_type"] == "test":
            model = NODES[node["attached_node"]]["name"]
            if not node["description"] or not node["name"].startswith(f"{model}_") or "__" in node["name"]:
                yield model


RULES: list[Callable[[], Iterator[str]]] = [
    is_named_otherwise,
    is_not_told_of_what_it_reads,
    waits_for_events_that_it_never_reads,
    has_a_key_that_may_be_null,
    has_an_index_that_no_tenant_uses,
    decides_without_a_unit_test,
    adds_up_currencies,
    hides_a_read_model_behind_a_with,
    is_read_by_nobody,
    has_a_test_that_explains_nothing,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_model_breaks_the_rule(rule: Callable[[], Iterator[str]]) -> None:
    """No model breaks the rule but those excepted with a reason, and these still do."""
    excepted = {model for name, model in EXCEPTIONS if name == rule.__name__}

    assert set(rule()) == excepted


def test_exceptions_are_of_rules_and_have_reasons() -> None:
    """An exception names a rule, and says why."""
    assert {name for name, _ in EXCEPTIONS} <= {rule.__name__ for rule in RULES}
    assert all(EXCEPTIONS.values())


def test_dashboards_name_what_they_read_and_show_currencies() -> None:
    """The exposure of the dashboards names the marts of their statements; a statement with money in it shows whose."""
    text = (PROJECT.parent / "benchmarks" / "dashboards.sql").read_text(encoding="utf-8")
    exposed = MANIFEST["exposures"]["exposure.analytics_pipelines.dashboards"]["depends_on"]["nodes"]

    assert {NODES[name]["name"] for name in exposed} == set(re.findall(r"\bmarts\.(\w+)", text))
    for query in text.split("-- name: ")[1:]:
        shown = query.partition("\nfrom ")[0].partition("select")[2]
        assert not re.search(r"\b(revenue|profit|lifetime_value|amount_now|commission)\b", shown) or "currency" in shown
