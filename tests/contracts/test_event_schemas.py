"""The catalog of event types keeps what it promised, and says all that it promises."""

from __future__ import annotations

import re

from analytics_pipelines.event_log.catalog import BUILT_IN, personal_fields
from analytics_pipelines.event_log.schemas import DOMAINS, SCHEMAS, payload
from analytics_pipelines.event_log.schemas.compatibility import Differences, differences
from analytics_pipelines.event_log.schemas.documentation import PAGE, page
from analytics_pipelines.event_log.schemas.json_schema import FOLDER, json_schema
from analytics_pipelines.event_log.schemas.vocabulary import MEANINGS
from analytics_pipelines.ingestion.simulator import simulate

# What tells who somebody is, wherever it stands beside a subject.
TELLING = {"email", "phone"}


def test_no_type_changes_without_a_new_version() -> None:
    """The classes are as the checked-in JSON Schemas say; each line of the difference says what to do."""
    assert differences(FOLDER) == Differences()


def test_the_page_of_event_types_is_current() -> None:
    """docs/events.md is what `pipelines events schemas document` writes."""
    assert PAGE.read_text() == page(), "run `pipelines events schemas document`"


def test_no_payload_is_forgotten() -> None:
    """Each payload class of a domain is an event type, or part of one."""
    for domain in DOMAINS.values():
        classes = {
            value for value in vars(domain).values() if isinstance(value, type) and issubclass(value, payload.Payload)
        }
        parts = {name for listed in domain.PAYLOADS for name in listed.model_json_schema().get("$defs", {})}
        forgotten = classes - set(domain.PAYLOADS) - {payload.Payload}
        assert {value.__name__ for value in forgotten} <= parts
        assert len(set(domain.PAYLOADS)) == len(domain.PAYLOADS)
    assert len(SCHEMAS) == sum(len(domain.PAYLOADS) for domain in DOMAINS.values())


def test_every_field_says_what_it_means() -> None:
    """Each field of each type has a meaning, and each word of the vocabulary is used."""
    used: set[str] = set()
    for key in SCHEMAS:
        schema = json_schema(*key)
        for part in (schema, *schema.get("$defs", {}).values()):
            used |= part["properties"].keys()
            assert [name for name, field in part["properties"].items() if not field.get("description")] == [], key
    assert set(MEANINGS) - used == set()


def test_every_stream_is_named_by_required_fields() -> None:
    """A stream is a kind and identifiers that every event of the type carries."""
    for key in SCHEMAS:
        schema = json_schema(*key)
        named = re.findall(r"<(\w+)>", schema["x-stream"])
        assert named, key
        assert set(named) <= set(schema["required"]), key
        assert re.fullmatch(r"([a-z][a-z_]*|<entity>)(-<\w+>)+", schema["x-stream"]), key


def test_simulated_events_stand_in_the_streams_that_the_catalog_names() -> None:
    """The stream of each event of a small world is the one that its type says."""
    seen: set[str] = set()
    for event in simulate(2_000, 1):
        schema = SCHEMAS[event.event_type, event.schema_version]
        assert isinstance(event.data, str)
        data = schema.model_validate_json(event.data)
        named = json_schema(event.event_type, event.schema_version)["x-stream"]
        assert re.sub(r"<(\w+)>", lambda match, data=data: str(getattr(data, match[1])), named) == event.stream_id
        seen.add(event.event_type)
    assert len(seen) > 15


def test_what_tells_who_somebody_is_is_marked_personal() -> None:
    """E-mail addresses and telephone numbers are personal in every type, and each such type names its subject."""
    for key in SCHEMAS:
        schema = json_schema(*key)
        telling = TELLING & schema["properties"].keys()
        found = personal_fields(schema)
        known = BUILT_IN.personal.get(key)
        assert (known and (known.subject_field, known.fields)) == found
        assert telling <= set(known.fields if known else ()), key
    assert BUILT_IN.personal["user_registered", 1].fields == ("email", "name", "phone")
    assert BUILT_IN.personal["user_registered", 1].subject_field == "user_id"
