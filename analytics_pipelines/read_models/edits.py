"""The edits that a branch is made with: what they are, how they are read, and what they make of events.

Defines `Edit`, `read_edits` and `resolve`. A file of edits has one JSON object per line:

    {"drop": 17}
    {"change": 17, "data": {"amount": 12}, "time": "2017-06-01T12:00:00Z"}
    {"insert": {"id": "1", "source": "what-if", "type": "order_paid", "subject": "order-1", "time": ..., "data": {...}}}

An event of the log is named by its position or by `{"tenantid": ..., "source": ..., "id": ...}`. The fields in the
`data` of a change replace those of the event, the others stay. No edit holds a personal value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.cloud_events import exact_json, parse_exactly
from analytics_pipelines.event_log.event import Malformed, NewEvent
from analytics_pipelines.event_log.validation import json_text, refusal, require_tenant

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from analytics_pipelines.event_log.catalog import Catalog

_KINDS = ("drop", "change", "insert")
_REFERENCE = {"tenantid", "source", "id"}

_FIND = """
    select sent.line, ids.position, found.tenant_id, found.source, found.event_id, found.stream_id, found.event_type,
        found.schema_version, found.sequence, found.occurred_at, found.data::text
    from unnest(%(lines)s::bigint[], %(positions)s::bigint[], %(tenants)s::text[], %(sources)s::text[],
        %(event_ids)s::text[]) as sent (line, position, tenant_id, source, event_id)
    left join lateral (
        select coalesce(sent.position, (
            select known.position from event_log.event_ids as known
            where known.tenant_id = sent.tenant_id and known.source = sent.source and known.event_id = sent.event_id
        )) as position
    ) as ids on true
    left join lateral (select * from event_log.events where position = ids.position limit 1) as found on true
    order by sent.line
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit, as it was written.

    Attributes:
        line: its line in the file.
        text: that line.
        kind: drop, change or insert.
        position: which event of the log, if that is named by its position.
        identity: tenant, source and id: of the event of the log, if that is named so, or of the inserted one.
        sent: the line's object.
        tenant_id: whose event it must be, if it is named by its position; None: anybody's.
    """

    line: int
    text: str
    kind: str
    position: int | None
    identity: tuple[str, str, str] | None
    sent: dict[str, Any]
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What an edit does.

    Attributes:
        edit: the edit.
        position: the event that is no longer there as it was; None of an insert.
        tenant_id: whose event.
        event: the event that is there instead; None of a drop.
    """

    edit: Edit
    position: int | None
    tenant_id: str
    event: NewEvent | None


def read_edits(lines: Iterable[bytes], name: str, tenant_id: str | None = None) -> list[Edit]:
    """Read a file of edits; empty lines are passed over.

    Args:
        lines: the file.
        name: what to call it in an error.
        tenant_id: whose events are meant where an edit does not say.

    Raises:
        PipelinesError: a line is no edit, or there is none; the error names the line.
    """
    edits: list[Edit] = []
    for number, content in enumerate(lines, 1):
        if content.strip():
            try:
                edits.append(_edit(number, content.strip(), tenant_id))
            except (ValueError, PipelinesError) as error:
                raise PipelinesError(f"{name}, line {number}: {error}") from None
    if not edits:
        raise PipelinesError(f"{name}: there is no edit in it; write one JSON object per line")
    return edits


def resolve(connection: Connection, edits: list[Edit], name: str, catalog: Catalog, up_to: int) -> list[Resolved]:
    """Find the events that edits name, and make and validate those that are to be there instead.

    Args:
        connection: a session.
        edits: the edits.
        name: what to call their file in an error.
        catalog: what events may be.
        up_to: the position of the log up to which events can be edited.

    Raises:
        PipelinesError: an edit names no event, or one that another names too, or makes one that could not be appended;
            the error names the line.
    """
    arguments = {
        "lines": [edit.line for edit in edits],
        "positions": [edit.position for edit in edits],
        "tenants": [edit.identity and edit.identity[0] for edit in edits],
        "sources": [edit.identity and edit.identity[1] for edit in edits],
        "event_ids": [edit.identity and edit.identity[2] for edit in edits],
    }
    resolved: dict[object, Resolved] = {}
    for edit, row in zip(edits, connection.execute(_FIND, arguments).fetchall(), strict=True):
        try:
            done = _inserted(edit, row[1], catalog) if edit.kind == "insert" else _of_the_log(edit, row, catalog, up_to)
        except ValueError as error:
            raise PipelinesError(f"{name}, line {edit.line}: {error}") from None
        other = resolved.setdefault(done.position or edit.identity, done)
        if other is not done:
            raise PipelinesError(
                f"{name}, line {edit.line}: line {other.edit.line} edits the same event; put both into one edit"
            )
    return list(resolved.values())


def _edit(line: int, content: bytes, tenant_id: str | None) -> Edit:
    sent = exact_json(content)
    kinds = [kind for kind in _KINDS if isinstance(sent, dict) and kind in sent]
    if not isinstance(sent, dict) or len(kinds) != 1:
        raise ValueError('write one of {"drop": ...}, {"change": ...} and {"insert": ...}')
    kind = kinds[0]
    unknown = sent.keys() - {kind} - ({"data", "time"} if kind == "change" else set())
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not known in a {kind}")
    if kind == "change" and len(sent) == 1:
        raise ValueError("data or time: one is needed, else nothing changes")
    if not isinstance(sent.get("data", {}), dict):
        raise ValueError("data: a JSON object is needed")  # noqa: TRY004 - wrong input, not a wrong call
    what = sent[kind]
    if isinstance(what, int) and not isinstance(what, bool) and kind != "insert":
        return Edit(line, content.decode(), kind, what, None, sent, tenant_id)
    return Edit(line, content.decode(), kind, None, _identity(kind, what, tenant_id), sent)


def _identity(kind: str, what: object, tenant_id: str | None) -> tuple[str, str, str]:
    if not isinstance(what, dict):
        raise ValueError(  # noqa: TRY004 - wrong input, not a wrong call
            f"{kind}: {'an event is' if kind == 'insert' else 'a position, or source and id, are'} needed"
        )
    given = cast("dict[str, object]", what)
    of, source, event_id = given.get("tenantid", tenant_id), given.get("source"), given.get("id")
    if not isinstance(of, str):
        raise ValueError(f"{kind}.tenantid: a tenant is needed, here or by --tenant")  # noqa: TRY004 - wrong input
    require_tenant(of)
    if not isinstance(source, str) or not isinstance(event_id, str) or (kind != "insert" and given.keys() - _REFERENCE):
        raise ValueError(f"{kind}: source and id are needed, as texts, and nothing else but tenantid")
    if not (source + event_id).isprintable():
        raise ValueError(f"{kind}: source and id hold what no identifier may")
    return of, source, event_id


def _inserted(edit: Edit, position: int | None, catalog: Catalog) -> Resolved:
    assert edit.identity is not None
    if position is not None:
        raise ValueError(f"insert: the log has this source and id at position {position}; change that event instead")
    event = parse_exactly(json_text(edit.sent["insert"]).encode(), "")
    if isinstance(event, Malformed):
        raise ValueError(f"insert.{event.reason}")  # noqa: TRY004 - wrong input, not a wrong call
    return Resolved(edit, None, edit.identity[0], _valid(event, cast("dict[str, Any]", event.data), catalog))


def _of_the_log(edit: Edit, row: tuple[Any, ...], catalog: Catalog, up_to: int) -> Resolved:
    _, position, tenant_id, source, event_id, stream_id, event_type, schema_version, sequence, occurred_at, data = row
    if tenant_id is None:
        raise ValueError(f"{edit.kind}: the log has no such event, or its partition is detached")
    if edit.tenant_id not in {None, tenant_id}:
        raise ValueError(f"{edit.kind}: position {position} is an event of {tenant_id}, not of {edit.tenant_id}")
    if position > up_to:
        raise ValueError(
            f"{edit.kind}: a model stands at position {up_to}, before it; run `pipelines build`, or rebuild the one "
            "that is held (`pipelines rebuild --list`)"
        )
    if edit.kind == "drop":
        return Resolved(edit, position, tenant_id, None)
    stored = cast("dict[str, Any]", exact_json(data.encode()))
    event = NewEvent(
        source, event_id, stream_id, event_type, occurred_at, stored, schema_version=schema_version, sequence=sequence
    )
    if "time" in edit.sent:
        # Read as the time of any event is, with its errors.
        moved = parse_exactly(json_text({**_A_TIME, "time": edit.sent["time"]}).encode(), "")
        if isinstance(moved, Malformed):
            raise ValueError(moved.reason)
        event = replace(event, occurred_at=moved.occurred_at)
    return Resolved(edit, position, tenant_id, _valid(event, edit.sent.get("data", {}), catalog))


_A_TIME = {"id": "-", "source": "-", "type": "-", "subject": "-", "data": {}}


def _valid(event: NewEvent, given: dict[str, Any], catalog: Catalog) -> NewEvent:
    """Return the event with what an edit gives, and without personal fields, which no model reads.

    Raises:
        ValueError: it could not be appended, or an edit gives a personal value.
    """
    declared = catalog.personal.get((event.event_type, event.schema_version))
    personal = frozenset(declared.fields) if declared else frozenset[str]()
    found = sorted(personal & given.keys())
    if found:
        raise ValueError(f"data.{found[0]}: it is personal, and a branch holds nothing personal; leave it out")
    merged = {**cast("dict[str, Any]", event.data), **given}
    data = {name: value for name, value in merged.items() if name not in personal}
    text = json_text(data)
    refused = refusal(replace(event, data=data), text, catalog=catalog)
    if refused is not None:
        raise ValueError(refused.reason)
    return replace(event, data=text)
