"""What is read from dbt's manifest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from analytics_pipelines.warehouse.manifest import attached_model, is_stale, models_of, project_code

if TYPE_CHECKING:
    from pathlib import Path


def node(name: str, **changes: Any) -> dict[str, Any]:
    """Return a model as it stands in a manifest."""
    return {
        "unique_id": f"model.p.{name}",
        "resource_type": "model",
        "name": name,
        "schema": "marts",
        "description": "One row per tenant.\n",
        "checksum": {"checksum": "0123456789abcdef"},
        "config": {"materialized": "table", "meta": {"owner": "team:analytics"}},
        "tags": ["bi"],
        "columns": {
            "tenant_id": {
                "name": "tenant_id",
                "data_type": "text",
                "description": "Whose.",
                "constraints": [{"type": "not_null"}],
            },
            "name": {"name": "name", "data_type": None, "description": "What.", "constraints": []},
        },
        "depends_on": {"nodes": []},
    } | changes


def data_test(name: str, severity: str, **changes: Any) -> dict[str, Any]:
    """Return a test as it stands in a manifest."""
    return {
        "unique_id": f"test.p.{name}",
        "resource_type": "test",
        "name": name,
        "description": "Holds.",
        "config": {"severity": severity},
        "tags": [],
        "attached_node": "model.p.fct_orders",
        "depends_on": {"nodes": ["model.p.fct_order_lines", "model.p.fct_orders"]},
    } | changes


def manifest(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with these nodes and two sources, one of which is bookkeeping."""
    events = {"unique_id": "source.p.events", "schema": "event_log", "identifier": "events", "meta": {}}
    builds = {"unique_id": "source.p.builds", "schema": "progress", "identifier": "builds", "meta": {"is_asset": False}}
    return {
        "nodes": {node["unique_id"]: node for node in nodes},
        "sources": {source["unique_id"]: source for source in (events, builds)},
    }


def test_a_model_reads_models_and_sources_by_schema_and_table() -> None:
    """The upstream keys of a model are schema and table, also of a source; bookkeeping is left out."""
    reads = {"nodes": ["source.p.events", "source.p.builds", "model.p.fct_orders"]}

    customers, orders = models_of(manifest(node("fct_orders"), node("dim_customers", depends_on=reads)))

    assert customers.key == ("marts", "dim_customers")
    assert customers.upstream == (("event_log", "events"), ("marts", "fct_orders"))
    assert orders.upstream == ()


def test_a_model_says_what_the_project_says_of_it() -> None:
    """Description, owner, tags, materialization and columns come from the project."""
    (model,) = models_of(manifest(node("fct_orders")))

    assert model.description == "One row per tenant."
    assert model.owners == ("team:analytics",)
    assert model.tags == ("bi",)
    assert model.materialization == "table"
    assert [(column.name, column.data_type, column.is_nullable) for column in model.columns] == [
        ("tenant_id", "text", False),
        ("name", "", True),
    ]


def test_variables_and_macros_are_code(tmp_path: Path) -> None:
    """The code version of every model is another one when its text, a variable or a macro of the project changes."""
    (tmp_path / "macros").mkdir()
    (settings := tmp_path / "dbt_project.yml").write_text("vars: {churned_after_days: 180}")
    (macro := tmp_path / "macros" / "ratio.sql").write_text("a / b")
    versions = [versions_of(node("fct_orders"), project_code(tmp_path))]
    settings.write_text("vars: {churned_after_days: 90}")
    versions.append(versions_of(node("fct_orders"), project_code(tmp_path)))
    macro.write_text("a / nullif(b, 0)")
    versions.append(versions_of(node("fct_orders"), project_code(tmp_path)))
    versions.append(versions_of(node("fct_orders", checksum={"checksum": "other"}), project_code(tmp_path)))

    assert len(set(versions)) == 4
    assert versions_of(node("fct_orders"), "same") == versions_of(node("fct_orders"), "same")


def versions_of(model: dict[str, Any], shared_code: str) -> str:
    """Return the code version of the only model of a manifest."""
    return models_of(manifest(model), shared_code)[0].code_version


def test_a_test_belongs_to_the_model_whose_yaml_it_stands_in() -> None:
    """A test is a check of the model it is attached to, however many it reads; only severity error blocks."""
    is_big = data_test("is_big", "warn", tags=["nightly"])
    nodes = [node("fct_order_lines"), node("fct_orders"), data_test("is_equal", "ERROR"), is_big]

    lines, orders = models_of(manifest(*nodes))

    assert lines.tests == ()
    assert [(test.name, test.is_blocking, test.is_nightly) for test in orders.tests] == [
        ("is_big", False, True), ("is_equal", True, False),
    ]  # fmt: skip


def test_a_test_in_a_file_of_its_own_belongs_to_the_first_model_it_reads() -> None:
    """A test attached to no model is not lost."""
    assert attached_model(data_test("is_equal", "error", attached_node=None)) == "model.p.fct_order_lines"


def test_rules_and_their_exceptions_are_left_out() -> None:
    """A rule reads its exceptions, which are a seed: neither is shown as an asset, or as a check of one."""
    seed = {"unique_id": "seed.p.rule_exceptions", "resource_type": "seed", "name": "rule_exceptions"}
    rule = data_test("has_no_owner", "error", attached_node=None, depends_on={"nodes": ["seed.p.rule_exceptions"]})

    (model,) = models_of(manifest(seed, rule, node("fct_orders")))

    assert (model.name, model.tests) == ("fct_orders", ())


def test_a_manifest_is_stale_when_the_project_is_newer(tmp_path: Path) -> None:
    """No manifest, a changed file and a removed file call for a new manifest; what dbt itself writes does not."""
    models = tmp_path / "models"
    models.mkdir()
    (model := models / "a.sql").touch()
    (unwanted := models / "b.sql").touch()
    path = tmp_path / "target" / "manifest.json"
    assert is_stale(path, tmp_path)

    path.parent.mkdir()
    path.touch()
    os.utime(path, (2e9, 2e9))
    assert not is_stale(path, tmp_path)

    (path.parent / "partial_parse.msgpack").touch()
    os.utime(path.parent / "partial_parse.msgpack", (3e9, 3e9))
    assert not is_stale(path, tmp_path)

    os.utime(model, (3e9, 3e9))
    assert is_stale(path, tmp_path)

    os.utime(model, (1e9, 1e9))
    os.utime(path, (1.5e9, 1.5e9))
    os.utime(models, (1e9, 1e9))
    os.utime(unwanted, (1e9, 1e9))
    assert not is_stale(path, tmp_path)
    unwanted.unlink()
    assert is_stale(path, tmp_path)
