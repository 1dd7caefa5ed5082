"""Sealing personal values: round trips, determinism, tampering, and master keys."""

from __future__ import annotations

import base64
import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import copies
from analytics_pipelines.event_log.copies import Named, forget_files
from analytics_pipelines.event_log.encryption import (
    ERASED,
    Encrypted,
    MasterKeys,
    SubjectKey,
    TamperedError,
    load_master_keys,
    parse_master_keys,
    printable,
)
from analytics_pipelines.event_log.personal import PERSONAL, personal_fields, personal_names
from analytics_pipelines.event_log.schemas.payload import Identifier, Payload, Personal, PersonalText
from analytics_pipelines.event_log.validation import json_text
from analytics_pipelines.local import platform
from analytics_pipelines.read_models.columns import last
from analytics_pipelines.read_models.declaration import ReadModel
from analytics_pipelines.settings import Settings

KEY = SubjectKey(bytes(32))
PLACE = ("shop", "test", "1")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_what_is_sealed_opens_to_the_same_value(values: dict[str, Any]) -> None:
    """Any JSON values come back as they were, and sealing them twice gives the same bytes."""
    sealed = KEY.seal(PLACE, "lead-1", values)
    assert {name: KEY.open(PLACE, name, item["value"]) for name, item in sealed.items()} == values
    assert KEY.seal(PLACE, "lead-1", values) == sealed


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_bit_is_noticed(place: int, change: int) -> None:
    """Whatever byte of a sealed value is changed, it does not open."""
    content = bytearray(base64.b64decode(KEY.seal(PLACE, "lead-1", {"name": "Ann"})["name"]["value"]))
    content[place % len(content)] ^= change
    with pytest.raises(TamperedError):
        KEY.open(PLACE, "name", base64.b64encode(content).decode())


def test_a_sealed_value_opens_at_its_own_place_only() -> None:
    """Moved to another tenant, source, event or field, or under another key, a value does not open."""
    value = KEY.seal(PLACE, "lead-1", {"name": "Ann"})["name"]["value"]
    assert KEY.open(PLACE, "name", value) == "Ann"
    for place in (("other", "test", "1"), ("shop", "else", "1"), ("shop", "test", "2")):
        with pytest.raises(TamperedError):
            KEY.open(place, "name", value)
    with pytest.raises(TamperedError):
        KEY.open(PLACE, "email", value)
    with pytest.raises(TamperedError):
        SubjectKey(os.urandom(32)).open(PLACE, "name", value)


def test_a_nonce_repeats_only_with_everything_else() -> None:
    """Another event, another value or another field takes another nonce, so that nothing is told by comparing."""

    def nonces(place: tuple[str, str, str], **values: str) -> set[bytes]:
        sealed = KEY.seal(place, "lead-1", values)
        return {base64.b64decode(item["value"])[:12] for item in sealed.values()}

    used = [
        nonces(PLACE, email="a", name="a"),
        nonces(PLACE, email="a", name="b"),
        nonces(PLACE, email="b", name="a"),
        nonces(PLACE, email="a"),
        nonces(("shop", "test", "2"), email="a", name="a"),
    ]
    assert sum(len(each) for each in used) == len(set[bytes]().union(*used)) == 9


def test_decimals_keep_their_digits() -> None:
    """A personal number comes back with every digit."""
    number = Decimal("12345678901234567890.123456789")
    sealed = KEY.seal(PLACE, "lead-1", {"salary": {"amount": number}})
    assert KEY.open(PLACE, "salary", sealed["salary"]["value"]) == {"amount": number}


def test_a_wrong_master_key_is_one_clear_line() -> None:
    """A key that was wrapped by another master key, or by a version that is missing, is told in one line."""
    right, wrong = MasterKeys({1: bytes(32)}), MasterKeys({1: bytes([1]) * 32})
    wrapped = right.wrap(bytes(32), "shop\0lead-1")
    assert right.unwrap(wrapped, 1, "shop\0lead-1") == bytes(32)
    with pytest.raises(PipelinesError, match="version 1 does not open"):
        wrong.unwrap(wrapped, 1, "shop\0lead-1")
    with pytest.raises(PipelinesError, match="version 1 does not open"):
        right.unwrap(wrapped, 1, "shop\0lead-2")
    with pytest.raises(PipelinesError, match="version 2, which is not configured"):
        right.unwrap(wrapped, 2, "shop\0lead-1")


@pytest.mark.parametrize("text", ["", "secret!", "1:c2hvcnQ=", "0:{key}", "x:{key}", "{key},{key}"])
def test_a_text_that_is_no_master_key_is_refused_unseen(text: str) -> None:
    """The error says what to give and repeats nothing of what was given."""
    given_text = text.replace("{key}", base64.b64encode(bytes(32)).decode())
    with pytest.raises(PipelinesError, match=r"^PIPELINES_MASTER_KEY: ") as caught:
        parse_master_keys(given_text, "PIPELINES_MASTER_KEY")
    assert not given_text or given_text not in str(caught.value)


def test_master_keys_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """The environment wins over the file; without either there are none; the highest version is the newest."""
    settings = Settings(home=tmp_path, master_key=None)
    assert load_master_keys(settings) is None
    encoded = base64.b64encode(bytes(32)).decode()
    (tmp_path / "master.keys").write_text(f"1:{encoded}\n2:{encoded}\n")
    found = load_master_keys(settings)
    assert found is not None
    assert found.newest == 2
    again = load_master_keys(settings.model_copy(update={"master_key": Settings(master_key=encoded).master_key}))  # pyright: ignore[reportArgumentType]
    assert again is not None
    assert again.newest == 1


def test_one_machine_gets_a_master_key_once(tmp_path: Path) -> None:
    """It is made where none is configured, readable by its owner alone, and never written over."""
    settings = Settings(home=tmp_path, master_key=None)
    platform.ensure_master_key(settings)
    made = settings.master_keys_path.read_text()
    platform.ensure_master_key(settings)
    assert (settings.master_keys_path.read_text(), settings.master_keys_path.stat().st_mode & 0o777) == (made, 0o600)
    assert load_master_keys(settings) is not None


def test_what_stands_for_a_value_is_typed_and_printable() -> None:
    """An erased value is falsy and says so, in words and in JSON; an unread one says that it is encrypted."""
    assert (bool(ERASED), str(ERASED)) == (False, "erased")
    assert str(Encrypted("lead-1")) == "encrypted"
    printed = orjson.dumps([ERASED, Encrypted("lead-1")], default=printable)
    assert json.loads(printed) == [{"$erased": True}, {"$encrypted": True}]


def test_a_mark_anywhere_makes_the_field_personal() -> None:
    """The mark counts where the field is optional, in a list, or within another payload; whose it is must be said."""

    class Inner(Payload):
        phone: PersonalText

    class Marked(Payload):
        subject_field = "lead_id"
        lead_id: Identifier
        plain: str
        born: Annotated[int, Personal()]
        names: list[PersonalText] | None = None
        inner: Inner | None = None

    class Nobody(Payload):
        name: PersonalText

    found = personal_fields(Marked)
    assert found is not None
    assert (found.kind, found.fields) == ("lead", ("born", "inner", "names"))
    with pytest.raises(TypeError, match="name in subject_field whose they are"):
        personal_fields(Nobody)


def test_a_read_model_that_names_a_personal_field_is_refused() -> None:
    """It cannot even be declared; a field of the same name that is not personal can."""
    for value in ("data ->> 'email'", "data #>> '{email,0}'", "jsonb_path_query_first(data, '$.email') #>> '{}'"):
        with pytest.raises(PipelinesError, match="read model people: mail is made of email, which is personal"):
            ReadModel("people", "g", {"lead_id": "k"}, (last("mail", "text", "d", "lead_created", value=value),))
    with pytest.raises(PipelinesError, match="email is made of email"):
        ReadModel("people", "g", {"email": "k"}, (last("company", "text", "d", "lead_created"),))
    ReadModel("products", "g", {"product_id": "k"}, (last("name", "text", "d", "product_added"),))


def test_no_model_of_the_warehouse_names_a_personal_field() -> None:
    """No SQL of dbt that reads events of people takes one of their personal fields."""
    types = sorted({event_type for event_type, _ in PERSONAL})
    for path in (Path(__file__).parents[2] / "dbt_project").glob("m*/**/*.sql"):
        text = path.read_text(encoding="utf-8")
        named = [event_type for event_type in types if f"'{event_type}'" in text]
        assert not [name for name in personal_names(named) if f"'{name}'" in text], path


NAMED = Named("lead-7", "7", frozenset({"lead_id"}))


@pytest.mark.parametrize(
    ("content", "is_named"),
    [
        ('{"subject": "lead-7", "data": {}}', True),
        ('{"data": {"lead_id": "7"}}', True),
        ('{"data": {"lead_id": 7}}', True),
        ('{"data": "{\\"lead_id\\": \\"7\\"}"}', True),
        ('{"data": {"lead_id": "\\u0037"}}', True),
        ('{"specversion": "1.0", "data": {"product_id": "7", "lead_id": "77"}}', False),
        ('[{"specversion": "1.0", "data": {"product_id": "7", "note": "{\\"a\\": \\"7\\"}"}}]', False),
        ('{"specversion": "1.0", "data": {"lead_id": "7"}}', True),
        ('{"event_type": "order_paid", "data": "{\\"order_id\\": \\"7\\"}"}', False),
        ('{"customer no": "7", "mail": "ann@x.example"}', True),
        ('{"customer no": 7.0}', True),
        ('{"customer no": "77", "day": "2017-06-07"}', False),
        ('  "lead_id": "\\u0037",', True),
        ("7,Ann,ann@x.example", True),
        ("17,Ann,ann@x.example", False),
        ('{"lead_id": "7"', True),
    ],
)
def test_copies_are_found_by_who_they_name(content: str, is_named: bool) -> None:  # noqa: FBT001 - a parameter
    """An identifier counts in the field of its kind; where there are no fields, as a word."""
    assert NAMED.stands_in(content.encode()) is is_named


@pytest.mark.parametrize(
    ("identifier", "content"),
    [
        ("a/b", rb'{"data": {"lead_id": "a\/b"}}'),
        ("a/b", rb'"lead_id": "a\/b",'),
        ("M\u00fcller", rb'"lead_id": "M\u00fcller",'),
        ("\U0001f600", rb'"lead_id": "\ud83d\ude00",'),
        ("M\u00fcller", "1;M\u00fcller;Ann".encode("latin-1")),
        ("M\u00fcller", '{"lead_id": "M\u00fcller"}'.encode("cp1252")),
        ("5\u20ac", "1;5\u20ac;Ann".encode("cp1252")),
        ("5\u20ac", "1;5\u20ac;Ann".encode("iso8859-15")),
    ],
)
def test_an_identifier_is_found_however_it_is_written(identifier: str, content: bytes) -> None:
    """Escaped as JSON allows, in whole values and in the lines of one, and in every encoding that is read."""
    named = Named(f"lead-{identifier}", identifier, frozenset({"lead_id"}))
    assert named.stands_in(content)
    assert not Named("lead-nobody", "nobody", frozenset({"lead_id"})).stands_in(content)


def test_the_version_of_a_torn_event_names_nobody() -> None:
    """Of a CloudEvent that was cut off, `1.0` is no identifier; a column with gaps may have one written so."""
    named = Named("lead-1", "1", frozenset({"lead_id"}))
    assert not named.stands_in(b'{"specversion": "1.0","id":"9"')
    assert named.stands_in(b'{"specversion":"1.0","id":"9","data":{"lead_id":"1"')
    assert named.stands_in(b"1.0,Ann")


def test_a_line_longer_than_memory_is_searched_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a long line is cut, a name across the cut is found."""
    monkeypatch.setattr(copies, "LINE_BYTES", 64)
    (tmp_path / "done").mkdir()
    for start in range(1, 140):
        path = tmp_path / "done" / "long.json"
        path.write_bytes(b"x" * start + b' "lead_\\u0069d": "lead-7" ' + b"x" * 140)
        assert forget_files(tmp_path, NAMED)["deleted"] == [str(path)], start


def test_landed_files_that_name_a_person_are_deleted(tmp_path: Path) -> None:
    """Originals under done/ and failed/ go, also compressed ones; others stay, and what cannot be read is listed."""
    import gzip

    import pyarrow as pa
    from pyarrow import parquet

    line = b'{"data": {"lead_id": "7", "name": "Ann"}}\n'
    for folder in ("done", "failed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_bytes(b"{}\n" + line)
        (tmp_path / folder / "b.jsonl").write_bytes(line.replace(b'"7"', b'"8"'))
    (tmp_path / "failed" / "a.jsonl.reason.txt").write_text("line 2 of lead 7")
    (tmp_path / "done" / "c.jsonl.gz").write_bytes(gzip.compress(line))
    (tmp_path / "done" / "d.jsonl.gz").write_bytes(b"\x1f\x8bno gzip")
    (tmp_path / "done" / "d.mapping.yaml").write_text("schema_version: 7")
    parquet.write_table(pa.table({"lead_id": ["7"], "name": ["Ann"]}), tmp_path / "done" / "e.parquet")
    other_name = pa.table({"No.": pa.array([7.0, None]), "name": ["Ann", "Bob"]})
    parquet.write_table(other_name, tmp_path / "done" / "g.parquet")
    plain = (tmp_path / "done" / "g.parquet").read_bytes()
    (tmp_path / "done" / "h.parquet.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "done" / "i.parquet.zst").write_bytes(pa.compress(plain, "zstd", asbytes=True))
    parquet.write_table(pa.table({"No.": ["8"]}), tmp_path / "done" / "j.parquet")
    (tmp_path / "done" / "k.csv").write_bytes("8;J\u00fcrgen\n".encode("utf-16"))
    (tmp_path / "done" / "l.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 100)[:-12])
    (tmp_path / "f.jsonl").write_bytes(line)
    found = forget_files(tmp_path, NAMED)
    assert {what: [Path(path).name for path in paths] for what, paths in found.items()} == {
        "deleted": ["a.jsonl", "c.jsonl.gz", "e.parquet", "g.parquet", "h.parquet.gz", "i.parquet.zst"],
        "failed_deleted": ["a.jsonl"],
        "waiting": ["f.jsonl"],
        "unreadable": ["d.jsonl.gz", "k.csv", "l.jsonl.gz"],
    }
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"b.jsonl", "d.jsonl.gz", "d.mapping.yaml", "f.jsonl", "j.parquet", "k.csv", "l.jsonl.gz"}


@pytest.mark.parametrize(
    "value",
    [
        "1", "18446744073709551616", "18446744073709551615", "-9223372036854775809", "1.10", "1e2", "[1.10]",
        '"a:b"', '"\\u00e9"', '{"amount":1.10}', "null", "true",
    ],
)  # fmt: skip
def test_a_payload_with_personal_fields_keeps_every_digit(value: str) -> None:
    """Whichever way a payload is read before its personal fields are sealed, the rest is written as it was sent."""
    text = f'{{"lead_id":"1","more":{value}}}'
    sent = PERSONAL["lead_created", 1].read(text)
    assert sent is not None
    assert json_text(sent) == text.replace("\\u00e9", "é").replace("1e2", "1E+2")


@pytest.mark.parametrize("text", ['{"lead_id":"1","lead_id":"2"}', '{"lead_id":NaN}', "[1]", "{"])
def test_what_is_no_single_object_is_not_read(text: str) -> None:
    """A key that comes twice, and what is no JSON object, is left to the validation, which says why."""
    assert PERSONAL["lead_created", 1].read(text) is None
