"""The page that lists the read models.

Defines `page()`, the text of docs/read-models.md, made from the declarations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_pipelines.read_models.columns import Derived
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from analytics_pipelines.read_models.declaration import ReadModel

PAGE = PROJECT_FOLDER / "docs" / "read-models.md"
MANY = 40
"""More event types than these are counted, not listed."""

_HEAD = """\
# Read models

Made from the declarations in `analytics_pipelines/read_models/models/` by `pipelines read-models document`; do not
edit. Each is a view `read_models.<name>` and an asset `read_models/<name>`; every row begins with `tenant_id`.
[Add a read model](how-to/add-a-read-model.md) shows how one is declared.

Moments are event time, in UTC. "First" and "newest" mean by event time, then sequence, then event id, whatever arrived
first. A column that is folded from events names their types; one computed from the others of its row names none.
"""
_SHORT = {"timestamp with time zone": "timestamptz"}


def page() -> str:
    """Return the whole page."""
    models = sorted(READ_MODELS.values(), key=lambda model: model.name)
    listed = (f"| [{model.name}](#{model.name}) | {', '.join(model.key)} | {_cell(model.grain)} |" for model in models)
    contents = "\n".join(["| model | key | grain |", "|---|---|---|", *listed, ""])
    return "\n".join([_HEAD, contents, *(line for model in models for line in _model(model))])


def _model(model: ReadModel) -> Iterator[str]:
    yield f"## {model.name}\n"
    yield f"{model.grain}\n"
    yield "| column | type | meaning | folded from |"
    yield "|---|---|---|---|"
    yield from (f"| **{name}** | text | {_cell(meaning)} | key |" for name, meaning in model.key.items())
    sources = {column.name: column.events for column in model.folded}
    for column in model.columns:
        events = "" if isinstance(column, Derived) else _events(sources[column.name])
        kind = _SHORT.get(column.type, column.type)
        yield f"| {column.name} | {kind} | {_cell(column.description)} | {events} |"
    yield ""


def _events(events: Sequence[str]) -> str:
    if len(events) > MANY:
        return f"[{len(events)} types](events.md)"
    return ", ".join(f"[{event}](events.md#{event})" for event in events)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
