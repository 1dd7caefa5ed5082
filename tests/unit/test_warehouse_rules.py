"""Rules for models that cannot be a query of the dbt project, as those in `dbt_project/tests/rules` are.

dbt's `graph` has no unit tests, and knows nothing of read models, event types and the statements of the dashboards.
"""

from __future__ import annotations

import re

import orjson

from analytics_pipelines.event_log.catalog import BUILT_IN
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.warehouse.manifest import PROJECT, load_models

load_models()
MANIFEST = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())


def test_no_mart_decides_without_a_unit_test() -> None:
    """A mart with a variable in it decides something: a unit test of dbt shows what.

    What mart_status decides is read from what builds have left, and tested on their database.
    """
    tested = {unit["model"] for unit in MANIFEST["unit_tests"].values()}
    marts = [node for node in MANIFEST["nodes"].values() if node["schema"] == "marts"]
    deciding = {mart["name"] for mart in marts if re.search(r"\bvar\(", mart["raw_code"])}

    assert deciding
    assert deciding - tested == {"mart_status"}


def test_marts_wait_for_keys_and_events_that_there_are() -> None:
    """Of a read model a mart waits for a key column; of the log, for event types of the catalog: for others in vain."""
    told = {f"read_models.{model.name}": set(model.key) for model in READ_MODELS.values()}
    told["event_log.events"] = {event_type for event_type, _ in BUILT_IN.validators}
    waits = [
        (node["name"], relation, kind)
        for node in MANIFEST["nodes"].values()
        for relation, kinds in (node["config"].get("touched_by") or {}).items()
        if relation in told
        for kind in ([kinds] if isinstance(kinds, str) else kinds)
        if not kind == node["config"]["recompute"] == "tenant_id"  # any key of the tenant is meant
    ]

    assert {relation for _, relation, _ in waits} > {"event_log.events"}
    assert [wait for wait in waits if wait[2] not in told[wait[1]]] == []


def test_dashboards_name_what_they_read_and_show_currencies() -> None:
    """The exposure of the dashboards names the marts of their statements; a statement with money in it shows whose."""
    text = (PROJECT.parent / "benchmarks" / "dashboards.sql").read_text(encoding="utf-8")
    exposed = MANIFEST["exposures"]["exposure.analytics_pipelines.dashboards"]["depends_on"]["nodes"]

    assert {MANIFEST["nodes"][name]["name"] for name in exposed} == set(re.findall(r"\bmarts\.(\w+)", text))
    for query in text.split("-- name: ")[1:]:
        shown = query.partition("\nfrom ")[0].partition("select")[2]
        assert not re.search(r"\b(revenue|profit|lifetime_value|amount_now|commission)\b", shown) or "currency" in shown
