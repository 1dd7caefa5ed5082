"""Which payloads are let in, what a schema may change, and how an installation adds types of its own."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import NewEvent
from analytics_pipelines.event_log.catalog import BUILT_IN, Catalog, OwnValidator, PersonalFields, load_catalog
from analytics_pipelines.event_log.schema_commands import SCHEMAS_GROUP
from analytics_pipelines.event_log.schemas import SCHEMAS, type_and_version
from analytics_pipelines.event_log.schemas.compatibility import breaking_changes, differences
from analytics_pipelines.event_log.schemas.json_schema import FOLDER, files, json_schema
from analytics_pipelines.event_log.validation import refusal, repeated_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
INVOICE: dict[str, Any] = {
    "type": "object",
    "x-subject-field": "customer_id",
    "required": ["customer_id", "amount"],
    "properties": {
        "customer_id": {"type": "string"},
        "amount": {"type": "number", "minimum": 0, "multipleOf": 0.01},
        "address": {"type": ["string", "null"], "x-personal": True},
        "sent_at": {"type": "string", "format": "date-time"},
        "lines": {"type": "array", "items": {"type": "object", "required": ["text"]}},
    },
}


def _refused(data: dict[str, Any] | str, event_type: str = "order_paid", catalog: Catalog = BUILT_IN) -> str | None:
    text = data if isinstance(data, str) else json.dumps(data)
    found = refusal(NewEvent("test", "1", "order-1", event_type, NOON, data), text, catalog=catalog)
    return None if found is None else f"{found.kind}: {found.reason}"


def _folder(path: Path, schema: object = INVOICE, name: str = "invoice_sent.v1.json") -> Path:
    path.mkdir(exist_ok=True)
    (path / name).write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return path


# What is let in -----------------------------------------------------------------------------------------------------


def _json_texts(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return objects and lists as text, with white space and keys that come twice or are spelt differently."""
    space = st.sampled_from(["", " ", "\n\t", "\r", "\t\n"])
    keys = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"a\\":"', '":"', '"\\\\"', '"c d"'])
    pairs = st.builds(lambda key, s1, s2, value: f"{key}{s1}:{s2}{value}", keys, space, space, children)
    objects = st.lists(pairs, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}")
    return objects | st.lists(children, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]")


_SCALARS = st.sampled_from(
    ["1", "-2.5", "1e999", str(2**80), "true", "null", '"x"', '":"', '"a\\":1"', '"12:00"', '""']
)
_TEXTS = st.recursive(_SCALARS, _json_texts, max_leaves=12)


def _repeats(text: str) -> bool:
    """Say it the slow and obvious way."""
    found = False

    def see(pairs: list[tuple[str, object]]) -> None:
        nonlocal found
        found = found or len(dict(pairs)) < len(pairs)

    json.loads(text, object_pairs_hook=see)
    return found


@given(value=_TEXTS)
@example(value='{"a":1,"b":"a\\u0022:"}')
@example(value='{"a":1,"a" :2}')
def test_a_key_that_comes_twice_is_always_found_and_only_then(value: str) -> None:
    """Whatever texts, escapes and white space an object holds: refused when a key repeats, accepted otherwise."""
    expected = _repeats(value)
    assert (repeated_key(f'{{"more":{value}}}') is not None) == expected
    whole = _refused(f'{{"order_id":"1","amount":1,"more":{value}}}')
    assert (whole is not None) == expected, whole


def test_a_key_that_comes_twice_is_named() -> None:
    """The reason names the key, at the top and within."""
    reason = "invalid: data: the key 'amount' comes twice in one object; only one could be stored"
    assert _refused('{"order_id":"1","amount":1,"amount":2}') == reason
    assert _refused('{"order_id":"1","amount":1,"x":[{"amount":1,"amount":1}]}') == reason


@given(data=st.data())
def test_classes_and_json_schemas_let_in_the_same(
    payloads: Callable[[dict[str, Any]], st.SearchStrategy[Any]], data: st.DataObject
) -> None:
    """What the exported JSON Schema of a type allows, its class allows and a JSON Schema library, too."""
    key = data.draw(st.sampled_from(sorted(SCHEMAS)))
    payload = json.dumps(data.draw(payloads(json_schema(*key))))
    SCHEMAS[key].model_validate_json(payload, strict=True)
    OwnValidator(json_schema(*key)).validate_json(payload, strict=True)


def test_the_name_of_a_class_gives_type_and_version() -> None:
    """The last V and number is the version; without one it is version 1."""
    assert type_and_version("LeadScored") == ("lead_scored", 1)
    assert type_and_version("VariantViewedV12") == ("variant_viewed", 12)


# What a schema may change -------------------------------------------------------------------------------------------


def _changed(key: tuple[str, int], path: str, value: Any) -> list[str]:
    """Set a word of a type's schema, or remove it, and say what breaks."""
    old = json_schema(*key)
    new = deepcopy(old)
    *steps, last = path.split("/")
    inner: Any = new
    for step in steps:
        inner = inner[step]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    assert new != old
    return breaking_changes(old, new)


ORDER, DEAL, FLAG = ("order_placed", 1), ("deal_opened", 1), ("feature_flag_created", 1)


@pytest.mark.parametrize(
    ("key", "path", "value", "said"),
    [
        (DEAL, "properties/amount", None, "amount was removed"),
        (DEAL, "properties/amount", {"type": "string"}, "amount was of type number and is string"),
        (DEAL, "properties/amount/minimum", 1, "amount: minimum went up from 0 to 1"),
        (DEAL, "properties/amount/maximum", 1, "amount: maximum went down from none to 1"),
        (DEAL, "properties/deal_id/maxLength", 20, "deal_id: maxLength went down from 150 to 20"),
        (DEAL, "properties/currency/enum", ["USD"], 'currency: only the values ["USD"] are left'),
        (DEAL, "properties/currency/format", "idn-email", "currency: format was none and is idn-email"),
        (DEAL, "required", ["deal_id"], "amount is required no more, and readers count on it"),
        (ORDER, "properties/channel/pattern", "^store$", "channel: pattern was ^(store|online)$ and is ^store$"),
        (ORDER, "required", [*json_schema(*ORDER)["required"], "region"], "region is newly required"),
        (ORDER, "properties/lines/minItems", 2, "lines: minItems went up from 1 to 2"),
        (ORDER, "$defs/OrderLine/properties/quantity/type", "integer", "lines[].quantity was of type number"),
        (ORDER, "$defs/OrderLine/required", ["product_id"], "lines[].quantity is required no more"),
        (ORDER, "properties/region/anyOf", [{"type": "string"}], "region was of type null or string and is string"),
        (ORDER, "additionalProperties", False, "the payload[] was true and is false"),
        (FLAG, "properties/enabled/not", {"const": False}, "enabled: not was none and is"),
        (("user_invited", 1), "x-subject-field", "email", "the payload: x-subject-field was user_id and is email"),
    ],
)
def test_what_breaks_a_promise_is_named(key: tuple[str, int], path: str, value: Any, said: str) -> None:
    """A field removed, retyped, newly required or narrowed breaks the version; the line names the field."""
    assert any(line.startswith(said) for line in _changed(key, path, value)), _changed(key, path, value)


@pytest.mark.parametrize(
    ("key", "path", "value"),
    [
        (DEAL, "properties/stage", {"type": "string"}),
        (DEAL, "properties/amount/minimum", -1),
        (DEAL, "properties/deal_id/maxLength", 200),
        (DEAL, "properties/amount/description", "Money"),
        (DEAL, "properties/amount/x-unit", "dollars"),
        (ORDER, "properties/channel/pattern", None),
        (ORDER, "$defs/OrderLine/properties/note", {"type": "string"}),
    ],
)
def test_what_only_adds_breaks_nothing(key: tuple[str, int], path: str, value: Any) -> None:
    """A new optional field, a wider range or another wording needs no new version."""
    assert _changed(key, path, value) == []


def test_values_may_be_added_and_not_taken_away() -> None:
    """A list of values may grow."""
    few, many = {"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a", "b"]}
    assert breaking_changes(few, many) == []
    assert breaking_changes(many, few) == ['the payload: the values ["b"] are allowed no more']


@given(keys=st.tuples(st.sampled_from(sorted(SCHEMAS)), st.sampled_from(sorted(SCHEMAS))))
def test_a_schema_is_compatible_with_itself_alone(keys: tuple[tuple[str, int], tuple[str, int]]) -> None:
    """No schema breaks itself; one that lacks fields of the other does."""
    old, new = (json_schema(*key) for key in keys)
    assert breaking_changes(old, old) == []
    if old["properties"].keys() - new["properties"].keys():
        assert breaking_changes(old, new)


def test_differences_say_what_to_do(tmp_path: Path) -> None:
    """A broken promise asks for a new version, an addition and a new type for an export, a lost type for its class."""
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    assert differences(tmp_path).breaking == differences(tmp_path).additive == []
    (tmp_path / "deal_won.v1.json").unlink()
    (tmp_path / "deal_gone.v1.json").write_text("{}")
    for path, change in (
        ("deal_lost.v1.json", {"properties": {"fee": {"type": "number"}}}),
        ("deal_opened.v1.json", {}),
    ):
        (tmp_path / path).write_text(json.dumps({**json.loads((tmp_path / path).read_text()), "title": "", **change}))
    found = differences(tmp_path)
    assert [line.partition(";")[0] for line in found.breaking] == [
        "deal_gone.v1: the type is gone",
        "deal_lost.v1: fee was removed",
    ]
    assert "add the next with an upcaster" in found.breaking[1]
    assert found.additive == [
        "deal_opened.v1: changed without breaking anything; run `pipelines events schemas export`",
        "deal_won.v1: is new; run `pipelines events schemas export`",
    ]


# Types of an installation's own -------------------------------------------------------------------------------------


def test_a_json_schema_in_the_folder_makes_a_type_known(tmp_path: Path) -> None:
    """Payloads of an own type are decided on by its file, with the path of what is wrong and not its value."""
    catalog = load_catalog(_folder(tmp_path))
    assert _refused({"customer_id": "1", "amount": 19.99}, "invoice_sent", catalog) is None
    assert _refused({"customer_id": "1"}, "invoice_sent") == (
        "unknown_type: type: invoice_sent version 1 is not in the catalog"
    )
    assert _refused({"amount": 1}, "invoice_sent", catalog) == 'invalid: data: "customer_id" is a required property'
    wrong = {"customer_id": "secret", "amount": -1}
    said = _refused(wrong, "invoice_sent", catalog)
    assert said is not None
    assert said.startswith("invalid: data.amount: the value is less than the minimum of 0")
    deep = _refused({"customer_id": "1", "amount": 1, "lines": [{"text": ""}, {}]}, "invoice_sent", catalog)
    assert deep == 'invalid: data.lines.1: "text" is a required property'
    late = _refused({"customer_id": "1", "amount": 1, "sent_at": "no secret"}, "invoice_sent", catalog)
    assert late == 'invalid: data.sent_at: the value is not a "date-time"'
    assert _refused({"order_id": "1", "amount": 1}, catalog=catalog) is None


@pytest.mark.parametrize(
    "data",
    [
        "[]",
        "{",
        '{"customer_id":"1","amount":1e999}',
        '{"customer_id":"1","amount":1,"amount":1}',
        '{"customer_id":"1","amount":1,"x":{"a":1,"a":2}}',
        '{"customer_id":"1","amount":NaN}',
        '{"customer_id":"1","amount":1,"x":' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
)
def test_hostile_payloads_of_own_types_are_refused(tmp_path: Path, data: str) -> None:
    """What is no object, no JSON, too deep or ambiguous is refused with a reason, and never a crash."""
    said = _refused(data, "invoice_sent", load_catalog(_folder(tmp_path)))
    assert said is not None
    assert said.startswith("invalid: data")


@given(number=st.integers(min_value=0) | st.integers(min_value=2**64, max_value=2**200))
def test_own_types_take_whole_numbers_of_any_size(number: int) -> None:
    """A number beyond 64 bits is no error of the producer."""
    payload = OwnValidator({"properties": {"n": {"type": "integer"}}}).validate_json(f'{{"n":{number}}}', strict=True)
    assert payload.model_extra == {"n": number}


def test_personal_fields_of_own_types_are_known(tmp_path: Path) -> None:
    """x-personal and x-subject-field are in the catalog's entries, beside those of built-in types."""
    catalog = load_catalog(_folder(tmp_path))
    assert catalog.personal["invoice_sent", 1] == PersonalFields("customer_id", "customer", ("address",), {})
    assert catalog.personal["lead_created", 1].fields == ("email", "name", "phone")
    assert ("invoice_sent", 1) not in BUILT_IN.personal


def _with(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**INVOICE, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    ("name", "schema", "said"),
    [
        ("invoice_sent.v1.json", "{", "Expecting property name"),
        ("invoice_sent.v1.json", b"\xff".decode("latin-1"), "Expecting value"),
        ("invoice_sent.v1.json", [], "it is no JSON object"),
        ("invoice_sent.v1.json", {"type": "objekt"}, 'type: "objekt" is not valid'),
        ("invoice_sent.v1.json", {"pattern": "("}, "regex"),
        ("invoice_sent.v1.json", {"$ref": "https://example.com/x.json"}, "example.com"),
        ("invoice_sent.v1.json", {"$ref": "#/nowhere"}, "nowhere"),
        (
            "invoice_sent.v1.json",
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            "must be https://json-schema.org",
        ),
        ("invoice_sent.v1.json", _with(**{"x-subject-field": None}), "does not say whose they are"),
        ("invoice_sent.v1.json", _with(required=[]), "customer_id must be a required text"),
        ("invoice_sent.v1.json", _with(**{"x-subject-field": "address"}), "address must be a required text"),
        ("invoice_sent.v1.json", {"items": {"x-personal": True}}, "not for those within them"),
        ("InvoiceSent.json", INVOICE, "name it <type>.v<version>.json"),
        ("invoice_sent.v0.json", INVOICE, "name it <type>.v<version>.json"),
        ("order_paid.v7.json", INVOICE, "order_paid is a built-in type"),
    ],
)
def test_a_file_that_is_wrong_is_one_clear_line(tmp_path: Path, name: str, schema: object, said: str) -> None:
    """A broken schema, a wrong name or a built-in type is an error that names the file; nothing is fetched."""
    with pytest.raises(PipelinesError) as caught:
        load_catalog(_folder(tmp_path, schema, name))
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_other_file_is_read(tmp_path: Path) -> None:
    """A schema that refers to a file beside it is refused, although the file is there and is right."""
    (tmp_path / "other.json").write_text("{}")
    folder = _folder(tmp_path / "schemas", {"$ref": (tmp_path / "other.json").as_uri()})
    with pytest.raises(PipelinesError, match=r"invoice_sent\.v1\.json: .*other\.json"):
        load_catalog(folder)


def test_a_pattern_cannot_hold_up_the_log(tmp_path: Path) -> None:
    """A pattern that takes exponential time elsewhere takes none here; what would need such an engine is refused."""
    validator = OwnValidator({"properties": {"a": {"pattern": "^(a+)+$"}}})
    with pytest.raises(ValueError, match="does not match"):
        validator.validate_json(json.dumps({"a": "a" * 50_000 + "b"}), strict=True)
    looking_back = {"properties": {"a": {"pattern": r"^(a+)+\1$"}}}
    with pytest.raises(PipelinesError, match=r"invoice_sent\.v1\.json: properties\.a\.pattern: .*regex"):
        load_catalog(_folder(tmp_path, looking_back))


# The commands -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Run a command of the group with a state folder of its own, and return what it printed."""
    monkeypatch.setenv("PIPELINES_HOME", str(tmp_path / "home"))

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(SCHEMAS_GROUP, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_the_commands_list_and_check_own_types_too(run: Callable[..., str], tmp_path: Path) -> None:
    """`list` and `check` read the folder `schemas` of the state folder."""
    assert "all built-in types are as promised; 0 of your own" in run("check")
    (tmp_path / "home").mkdir()
    folder = _folder(tmp_path / "home" / "schemas")
    assert "1 of your own" in run("check")
    assert {"event_type": "invoice_sent", "version": 1, "built_in": False} in json.loads(run("list", "--json"))
    assert "invoice_sent v1  (your own)\n" in run("list")
    (folder / "invoice_sent.v1.json").write_text("{")
    with pytest.raises(PipelinesError, match=r"invoice_sent\.v1\.json"):
        run("check")


def test_export_writes_every_type_and_never_over_a_promise(run: Callable[..., str], tmp_path: Path) -> None:
    """The files are those that are checked in; a folder that promises more is left as it is."""
    folder = tmp_path / "json"
    run("export", "--to", str(folder))
    assert {path.name: path.read_text() for path in folder.iterdir()} == files()
    assert {path.name for path in FOLDER.iterdir()} == set(files())
    promised = folder / "deal_lost.v1.json"
    promised.write_text(promised.read_text().replace('"reason"', '"lost_reason"'))
    before = promised.read_text()
    with pytest.raises(PipelinesError, match="breaking changes; nothing was written"):
        run("export", "--to", str(folder))
    assert promised.read_text() == before


def test_document_writes_the_page(run: Callable[..., str], tmp_path: Path) -> None:
    """The page tells of a field what it is, and of a version that it is one."""
    run("document", "--to", str(tmp_path / "events.md"))
    text = (tmp_path / "events.md").read_text()
    assert "| `duration_ms` | whole number | milliseconds | no | How long it took |" in text
    assert "| `email`? | text |  | yes | E-mail address |" in text
    assert "| [experiment_started](#experiment_started) | 1, 2 | `experiment-<experiment_id>` |" in text
