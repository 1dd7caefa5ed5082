"""Rules for models that cannot be a query of the dbt project, as those in `dbt_project/tests/rules` are.

dbt's `graph` has no unit tests, and knows nothing of the statements of the dashboards.
"""

from __future__ import annotations

import re

import orjson

from analytics_pipelines.warehouse.manifest import PROJECT, load_models

load_models()
MANIFEST = orjson.loads((PROJECT / "target" / "manifest.json").read_bytes())


def test_no_mart_decides_without_a_unit_test() -> None:
    """A mart with a variable in it decides something: a unit test of dbt shows what."""
    tested = {unit["model"] for unit in MANIFEST["unit_tests"].values()}
    marts = [node for node in MANIFEST["nodes"].values() if node["schema"] == "marts"]
    deciding = {mart["name"] for mart in marts if re.search(r"\bvar\(", mart["raw_code"])}

    assert deciding
    assert deciding - tested == set()


def test_dashboards_name_what_they_read_and_show_currencies() -> None:
    """The exposure of the dashboards names the marts of their statements; a statement with money in it shows whose."""
    text = (PROJECT.parent / "benchmarks" / "dashboards.sql").read_text(encoding="utf-8")
    exposed = MANIFEST["exposures"]["exposure.analytics_pipelines.dashboards"]["depends_on"]["nodes"]

    assert {MANIFEST["nodes"][name]["name"] for name in exposed} == set(re.findall(r"\bmarts\.(\w+)", text))
    for query in text.split("-- name: ")[1:]:
        shown = query.partition("\nfrom ")[0].partition("select")[2]
        assert not re.search(r"\b(revenue|profit|lifetime_value|amount_now|commission)\b", shown) or "currency" in shown
