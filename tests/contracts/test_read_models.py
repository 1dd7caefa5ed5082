"""The read models say all that they promise, and use the whole vocabulary."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.schemas import SCHEMAS
from analytics_pipelines.read_models import columns
from analytics_pipelines.read_models.columns import Column, Derived, Fold, Folded, Outermost
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.read_models.documentation import PAGE, page
from analytics_pipelines.read_models.models import READ_MODELS, model_of

if TYPE_CHECKING:
    from pathlib import Path

ABSTRACT = {Column, Folded, Outermost, columns._OfValue, columns._Tallied}  # noqa: SLF001 - not words of a declaration


def words(column: Column) -> set[str]:
    """What of the vocabulary a column uses."""
    if isinstance(column, Derived):
        return {word for word in ("histogram_percentile", "nullif(") if word in column.expression}
    assert isinstance(column, Folded)
    word = column.end if isinstance(column, Outermost) else type(column).__name__
    return {word, "where"} if column.where else {word}


def test_the_page_of_read_models_is_current() -> None:
    """docs/read-models.md is what `pipelines read-models document` writes."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run `pipelines read-models document`"


def test_each_word_of_the_vocabulary_earns_its_place() -> None:
    """Every kind of column is used by at least two models, and the way out by no more than two."""
    users: defaultdict[str, set[str]] = defaultdict(set)
    for model in READ_MODELS.values():
        for column in model.columns:
            for word in words(column):
                users[word].add(model.name)
    kinds = {kind for kind in vars(columns).values() if isinstance(kind, type) and issubclass(kind, Folded)}
    expected = {kind.__name__ for kind in kinds - ABSTRACT - {Fold}}
    expected |= {"first", "last", "where", "nullif(", "histogram_percentile"}
    assert {word for word in expected if len(users[word]) < 2} == set()
    assert len(users["Fold"]) <= 2


@pytest.mark.parametrize(
    ("module", "declared", "message"),
    [
        ("lead_analytics_2", READ_MODELS["lead_analytics"], "lead_analytics_2.py: the model's name is lead_analytics"),
        ("empty", None, "empty.py: it has no MODEL"),
        (
            "orders",
            ReadModel("orders", "", {"order_id": ""}, (columns.count("orders", "", "order_placd"),)),
            "orders.py: the catalog has no event type order_placd",
        ),
        (
            "orders",
            ReadModel(
                "orders", "", {"order_id": ""}, (columns.count("few", "", "order_placed", where="data ? 'lins'"),)
            ),
            "few reads the field lins, which no schema of order_placed has; correct the name, or write data['lins'] if",
        ),
        (
            "products",
            ReadModel(
                "products",
                "",
                {"product_id": ""},
                (columns.count("sold", "", "order_placed"),),
                each={"order_placed": "linez"},
            ),
            "linez, which no schema of order_placed has; correct the name, only a schema promises a list",
        ),
        (
            "orders",
            ReadModel("orders", "", {"ordre_id": ""}, (columns.count("orders", "", "order_placed", "order_paid"),)),
            "orders.py: ordre_id reads the field ordre_id, which no schema of order_paid has",
        ),
    ],
)
def test_a_file_that_declares_something_else_is_refused_by_its_name(
    module: str, declared: object, message: str
) -> None:
    """A copied file whose name was not changed replaces no other model; a misspelt event type or field is no null."""
    with pytest.raises(PipelinesError, match=re.escape(message)):
        model_of(module, declared)


def test_fields_that_no_schema_can_tell_of_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a producer adds, by its own notation, and any field of an own type whose schema leaves the fields open."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path))
    (tmp_path / "schemas").mkdir()
    for name, schema in (("closed", {"properties": {"a": {}}}), ("opened", {"anyOf": [{"required": ["a"]}]})):
        (tmp_path / "schemas" / f"box_{name}.v1.json").write_text(json.dumps(schema))

    def boxes(event: str, where: str) -> ReadModel:
        return ReadModel("boxes", "", {"box": ""}, (columns.count("boxes", "", event, where=where),), {event: ("'x'",)})

    for model in (
        boxes("box_closed", "data #>> '{a,b}' = '1' or data['b'] = '1' or (data -> 'a') ->> 'c' = '1'"),
        boxes("box_opened", "data ->> 'b' = '1'"),
    ):
        assert model_of("boxes", model) is model
    with pytest.raises(PipelinesError, match="boxes reads the field b, which no schema of box_closed has"):
        model_of("boxes", boxes("box_closed", "data #>> '{b,a}' = '1'"))


def test_every_model_is_named_after_its_file_and_folds_types_of_the_catalog() -> None:
    """A view is found by its module, and no misspelled event type leaves a column empty for ever."""
    known = {event_type for event_type, _ in SCHEMAS}
    for name, model in READ_MODELS.items():
        assert model.name == name
        assert model.grain.startswith("One row per tenant"), name
        assert set(model.events) <= known, name
        assert {*model.keys, *model.each} <= set(model.events), name
        assert len(model.descriptions) == 1 + len(model.key) + len(model.columns), name
