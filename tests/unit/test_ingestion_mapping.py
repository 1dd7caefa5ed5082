"""What a mapping makes of rows, what it refuses, and what is proposed where none is given."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import Malformed, NewEvent, batch
from analytics_pipelines.ingestion import proposal
from analytics_pipelines.ingestion.files import read_events
from analytics_pipelines.ingestion.formats import Row
from analytics_pipelines.ingestion.mapping import Mapper, load_mappings
from analytics_pipelines.ingestion.proposal import dry_run
from analytics_pipelines.ingestion.values import convert, moment
from analytics_pipelines.settings import PROJECT_FOLDER

REAL = Path(os.environ.get("SHARED_DATA", PROJECT_FOLDER.parent / "shared" / "data"))
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"the real data sets are not at {REAL}")

ORDERS = """
source: billing
event_type: {column: state, values: {paid: order_paid, back: order_refunded}}
event_id: "{number}-{state}"
stream: order-{number}
occurred_at: {column: day, format: "%d.%m.%Y %H:%M", timezone: Europe/Berlin}
sequence: line
correlation_id: request
data:
  order_id: number
  amount: {column: amount, type: decimal}
  count: {column: count, type: integer, optional: true}
  gift: {column: gift, type: boolean, optional: true}
  details: {column: details, type: json, optional: true}
  currency: {value: EUR}
filters:
  - {column: test, present: false}
"""
ROW = {
    "number": "7", "state": "paid", "day": "01.07.2017 12:30", "line": "3", "request": "r", "amount": "12.50",
    "count": "", "gift": "yes", "details": '{"a": 1.10}', "test": "",
}  # fmt: skip


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def mapped(tmp_path: Path, change: dict[str, Any]) -> NewEvent | Malformed | None:
    (mapping,) = load_mappings(write(tmp_path / "m.yaml", ORDERS))
    return Mapper(mapping).event(Row({**ROW, **change}, b"the row", "orders.csv:2"))


def test_a_row_becomes_an_event(tmp_path: Path) -> None:
    """Type by value, templates, local time, typed fields and constants; decimals keep every digit."""
    event = mapped(tmp_path, {})
    assert isinstance(event, NewEvent)
    assert (event.source, event.event_type, event.event_id, event.stream_id, event.sequence, event.correlation_id) == (
        "billing", "order_paid", "7-paid", "order-7", 3, "r",
    )  # fmt: skip
    assert event.occurred_at == datetime(2017, 7, 1, 10, 30, tzinfo=UTC)
    assert event.data == {
        "order_id": "7", "amount": Decimal("12.50"), "gift": True, "details": {"a": Decimal("1.10")}, "currency": "EUR",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"amount": "12,50"}, "data.amount: a text of length 5 is no number such as 1234.50"),
        ({"amount": ""}, "data.amount: column amount is empty"),
        ({"amount": "nan"}, "data.amount: a text of length 3 is no number"),
        ({"count": "1.5"}, "data.count: a text of length 3 is no whole number"),
        ({"count": "1e999999999"}, "data.count: a text of length 11 is no whole number"),
        ({"count": Decimal("1.5")}, "data.count: a value of the type Decimal is no whole number"),
        ({"gift": "perhaps"}, "data.gift: a text of length 7 is neither true nor false"),
        ({"details": '{"a":1,"a":2}'}, "data.details: a: given twice"),
        ({"day": "2017-07-01"}, "occurred_at: a text of length 10 is no time of the format"),
        ({"state": "lost"}, "event_type: column state has a text of length 4 for which the mapping names no type"),
        ({"number": ""}, "stream: column number is empty"),
        ({"line": "x"}, "sequence: a text of length 1 is no number"),
    ],
)
def test_a_value_that_does_not_fit_refuses_the_row_and_names_the_field(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """The reason begins with the path of the field and quotes no value; the row's bytes and place are kept."""
    refused = mapped(tmp_path, change)
    assert isinstance(refused, Malformed)
    assert refused.reason.startswith(reason)
    assert (refused.content, refused.origin) == (b"the row", "orders.csv:2")


def test_a_row_that_a_filter_leaves_out_is_no_event(tmp_path: Path) -> None:
    """It is neither accepted nor quarantined."""
    assert mapped(tmp_path, {"test": "x"}) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("stream: order-{number}", "stream: order"), "stream: Value error, 'order' is no template"),
        (("type: decimal", "type: money"), "data.amount.type: Input should be"),
        (("timezone: Europe/Berlin", "timezone: Europe/Bonn"), "occurred_at.timezone: Value error, 'Europe/Bonn'"),
        (("source: billing", "sauce: billing"), "source: Field required"),
        (("sequence: line", "sequences: line"), "sequences: Extra inputs"),
        (("source: billing", "source: [billing"), "cannot be read as YAML"),
        (("{value: EUR}", "{optional: true}"), "data.currency: Value error, give either column or value"),
    ],
)
def test_a_wrong_mapping_is_one_line_that_names_the_field(change: tuple[str, str], reason: str, tmp_path: Path) -> None:
    """File, field, what is wrong, what to do."""
    with pytest.raises(PipelinesError) as refused:
        load_mappings(write(tmp_path / "m.yaml", ORDERS.replace(*change)))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "m.yaml" in str(refused.value)


def test_a_column_that_the_file_lacks_fails_the_file_once(tmp_path: Path) -> None:
    """Not every row for itself: the line says which columns for what, and nothing of a first row that names none."""
    mappings = load_mappings(write(tmp_path / "m.yaml", ORDERS))
    path = write(tmp_path / "a.csv", "number,ann@x.example\n1,2\n")
    with pytest.raises(
        PipelinesError, match="its 2 columns there is no 'state' for event_id, 'day' for occ"
    ) as refused:
        list(read_events(path, mappings))
    with pytest.raises(PipelinesError, match="none of the 2 columns holds times") as not_proposed:
        dry_run(path, [])
    assert "ann@" not in f"{refused.value} {not_proposed.value}"


def test_rows_without_an_id_are_known_by_their_values(tmp_path: Path) -> None:
    """The same values in any order of columns are one event; another value is another."""
    text = "source: s\nevent_type: order_paid\nstream: 'order-{n}'\noccurred_at: at\ndata: {order_id: n}\n"
    mappings = load_mappings(write(tmp_path / "m.yaml", text))
    first = read_events(write(tmp_path / "a.csv", "n,at\n1,2017-01-01\n2,2017-01-01\n"), mappings)
    second = read_events(write(tmp_path / "b.csv", "at,n\n2017-01-01,1\n"), mappings)
    one, two, again = [event.event_id for event in (*first, *second) if isinstance(event, NewEvent)]
    assert one == again != two


def test_plain_json_lines_may_leave_fields_out(tmp_path: Path) -> None:
    """Plain objects go through a mapping as rows do; missing optional fields are left out, digits are kept."""
    lines = [ROW | {"amount": 1.10}, {name: value for name, value in ROW.items() if name not in {"gift", "test"}}, 5]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(line) for line in lines))
    first, second, broken = read_events(path, load_mappings(write(tmp_path / "m.yaml", ORDERS)))
    assert isinstance(first, NewEvent)
    assert isinstance(second, NewEvent)
    assert isinstance(broken, Malformed)
    assert isinstance(first.data, dict)
    assert first.data["amount"] == Decimal("1.1")
    assert "gift" not in second.data


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001 - given a zone below
def test_times_are_exact_in_every_format(naive: datetime) -> None:
    """To the microsecond, from text and from numbers, also where a float would lose the last digits."""
    at = naive.replace(tzinfo=UTC)
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    assert moment(str(microseconds), "epoch_microseconds", UTC) == at
    assert moment(f"{Decimal(microseconds) / 1_000_000:f}", "epoch_seconds", UTC) == at
    assert moment(at.isoformat(), "iso", UTC) == moment(naive, "iso", UTC) == at


@given(st.text() | st.floats() | st.binary() | st.integers() | st.lists(st.floats()) | st.booleans() | st.decimals())
def test_no_value_raises_anything_but_a_reason(value: Any) -> None:
    """Whatever a column holds, it is converted or refused."""
    for kind in ("text", "decimal", "integer", "boolean", "timestamp", "json"):
        for time_format in ("iso", "epoch_seconds", "%Y"):
            with contextlib.suppress(ValueError):
                convert(value, kind, time_format, UTC)  # type: ignore[arg-type]


def test_a_dry_run_of_cloud_events_says_what_would_happen(tmp_path: Path) -> None:
    """Counts by type, the first events and the reasons of what would be refused; no mapping is proposed."""
    good = {"id": "1", "source": "shop", "type": "order_paid", "subject": "order-1", "time": "2017-06-01T12:00:00Z"}
    good["data"] = {"order_id": "1", "amount": 1}  # type: ignore[assignment]
    lines = [good, good | {"type": "order_payd"}, good | {"time": "soon"}]
    done = dry_run(write(tmp_path / "a.jsonl", "\n".join(json.dumps(line) for line in lines)), [])
    assert (done.rows, done.events, done.proposed) == (3, Counter({"order_paid": 1}), None)
    assert [event["id"] for event in done.first] == ["1"]
    assert sorted(reason.split(":")[0] for reason in done.refused) == ["malformed", "unknown_type"]


def test_rows_with_long_values_make_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read into memory at once is bounded by the size of payloads, however they are given."""
    monkeypatch.setattr(batch, "CHUNK_CHARACTERS", 10_000)
    texts: list[Any] = ["x" * 4_000, json.dumps({"x": "y" * 4_000}), {"x": {"y": ["z" * 4_000]}}, {"x": [1] * 500}]
    now = datetime.now(UTC)
    for data in texts:
        events = [NewEvent("s", str(number), "order-1", "order_paid", now, data) for number in range(9)]
        assert [len(chunk) for chunk in batch.chunks(events)] == [3, 3, 3]
    endless: dict[str, Any] = {}
    endless["itself"] = [endless, endless]
    assert len(list(batch.chunks([NewEvent("s", "1", "order-1", "order_paid", now, endless)]))) == 1


def test_a_proposed_mapping_can_be_used(tmp_path: Path) -> None:
    """It finds the time, the id, the types and the delimiter, and is itself a mapping file."""
    rows = "order_id;paid_at;amount;zip\n1;2017-06-01 12:00;1.50;01234\n2;2017-06-02 12:00;2;99999\n"
    path = write(tmp_path / "payments.csv", rows)
    done = dry_run(path, [])
    assert done.proposed is not None
    (mapping,) = load_mappings(write(tmp_path / "m.yaml", done.proposed))
    assert (mapping.event_id, mapping.stream, mapping.occurred_at.column) == (
        "{order_id}",
        "order-{order_id}",
        "paid_at",
    )
    assert {name: field.type for name, field in mapping.data.items()} == {
        "order_id": "text", "paid_at": "timestamp", "amount": "decimal", "zip": "text",
    }  # fmt: skip
    assert done.events == Counter({"order_paid": 2})
    assert dry_run(path, [mapping]).events == done.events


@pytest.mark.parametrize(
    ("name", "rows", "event_type", "event_id", "stream", "accepted"),
    [
        ("payments", "payment,order,paid at,amount\np-1,77,2017-06-01,19.90\np-2,78,2017-06-02,5",
         "order_paid", "{payment}", "order-{order}", 2),
        ("customers", "id,email,name,signed up\n1,a@x.example,Ada,2017-06-01\n2,b@x.example,Bob,2017-06-02",
         "customer_registered", "{id}", "customer-{id}", 2),
        ("orders", "id,customer,ordered at,channel\n1,ada,2017-06-01,web\n2,bob,2017-06-02,web",
         "order_placed", "{id}", "order-{id}", 0),
        ("deals", "Deal ID,Lead,Amount,Won on\nD1,42,100.50,06/13/2017\nD2,43,20,06/14/2017",
         "deal_won", "{Deal ID}", "deal-{Deal ID}", 0),
        ("pipeline", "opportunity_id,product,close_date\n1,x,2017-06-01\n2,x,2017-06-02",
         "choose_a_type", "{opportunity_id}", "opportunity-{opportunity_id}", 0),
        ("opens", "lead,opened_at,campaign,message\n42,2017-06-01,7,a\n42,2017-06-02,7,b",
         "email_opened", None, "lead-{lead}", 2),
    ],
)  # fmt: skip
def test_columns_are_proposed_under_the_names_of_the_catalog(  # noqa: PLR0913, PLR0917 - a file and its mapping
    name: str, rows: str, event_type: str, event_id: str | None, stream: str, accepted: int, tmp_path: Path
) -> None:
    """`order` may be `order_id`, and `id` of the orders, too; file and times tell the type, and the type its stream."""
    done = dry_run(write(tmp_path / f"{name}.csv", rows), [])
    assert done.proposed is not None
    (mapping,) = load_mappings(write(tmp_path / "m.yaml", done.proposed))
    assert (mapping.event_type, mapping.event_id, mapping.stream) == (event_type, event_id, stream)
    assert sum(done.events.values()) == accepted


def test_a_cell_that_is_no_time_does_not_hide_the_time_column(tmp_path: Path) -> None:
    """A mapping is proposed all the same, and the dry run shows that row as refused; a column of words is no time."""
    rows = ["order_id,paid_at,amount", *(f"{day},2017-06-0{day} 12:00,1.50" for day in range(1, 4))]
    done = dry_run(write(tmp_path / "payments.csv", "\n".join([*rows, "4,soon,3"])), [])
    assert done.proposed is not None
    assert done.events == Counter({"order_paid": 3})
    assert sum(done.refused.values()) == 1
    for others in (["4,soon,3", "5,later,4"], ["4,soon,3"]):
        with pytest.raises(PipelinesError, match="none of the 3 columns holds times"):
            dry_run(write(tmp_path / "b.csv", "\n".join([*rows[: 1 + len(others)], *others])), [])


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("order_date", ["05/06/2017", "13/06/2017"], "%d/%m/%Y"),
        ("order_date", [*(f"{day:02}/06/2017" for day in range(1, 13)), "13/06/2017"], "%d/%m/%Y"),
        ("order_date", [*(f"{day:02}/06/2017" for day in range(1, 31)), "soon"], "%d/%m/%Y"),
        ("updated_by", ["2017-01-01", "bob"], None),
        ("days", ["12", "20170101"], None),
        ("time_spent", ["1500000000", "12"], None),
        ("note", [*["2017-01-01"] * 20, "bob"], None),
    ],
)
def test_a_format_that_fits_all_goes_before_one_that_fits_most(
    column: str, values: list[str], expected: str | None
) -> None:
    """Days are not taken for months because most of them could be, nor names and numbers for times."""
    assert proposal._time_format(column, values) == expected  # noqa: SLF001


@needs_real_data
def test_a_real_pipeline_of_deals_becomes_events(tmp_path: Path) -> None:
    """Of 8,800 opportunities 4,238 were won, for 10,005,534 in all: two mappings make two events of such a row."""
    part = "source: crm\nevent_id: '{opportunity_id}-%s'\nstream: deal-{opportunity_id}\n"
    opened = part % "opened" + "event_type: deal_opened\noccurred_at: engage_date\ndata: {deal_id: opportunity_id}\n"
    opened += "filters: [{column: engage_date, present: true}]\n"
    won = part % "won" + "event_type: deal_won\noccurred_at: close_date\n"
    won += "data: {amount: {column: close_value, type: decimal}}\nfilters: [{column: deal_stage, values: [Won]}]\n"
    mappings = load_mappings(write(tmp_path / "m.yaml", f"{opened}---\n{won}"))
    events = list(read_events(REAL / "maven-crm" / "sales_pipeline.csv", mappings))
    won_events = [event for event in events if isinstance(event, NewEvent) and event.event_type == "deal_won"]
    assert len(won_events) == 4_238
    assert sum(event.data["amount"] for event in won_events) == 10_005_534  # type: ignore[index,misc]
    assert len(events) == 4_238 + 8_300  # all but those that are only prospected
    proposed = dry_run(REAL / "diginetica" / "sample_train-item-views.csv", []).proposed
    assert proposed is not None
    assert "delimiter: ;" in proposed
    assert load_mappings(write(tmp_path / "p.yaml", proposed))[0].occurred_at.column == "eventdate"
