"""The read models, a module each.

Defines `READ_MODELS`, all of them, by name. Add a module with a `MODEL` here: the table, the asset, the checks, the
tests and the documentation follow from its declaration (docs/how-to/add-a-read-model.md).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log.catalog import BUILT_IN, configured_catalog
from analytics_pipelines.read_models.declaration import ReadModel


def model_of(module: str, declared: object) -> ReadModel:
    """Return the model that a module declares.

    Args:
        module: the module's name, which is the model's.
        declared: its `MODEL`.

    Raises:
        PipelinesError: it has none, or one of another name, which would take that one's table; or an event type is not
            in the catalog, or a field that is read in no schema of its event types. The line names the file.
    """
    if not isinstance(declared, ReadModel):
        raise PipelinesError(f"read_models/models/{module}.py: it has no MODEL; declare one, or remove the file")
    if declared.name != module:
        raise PipelinesError(
            f"read_models/models/{module}.py: the model's name is {declared.name}; name it {module}, as its file"
        )
    catalog = BUILT_IN
    if set(declared.events) - {event_type for event_type, _ in catalog.validators}:
        catalog = configured_catalog()
    if unknown := set(declared.events) - {event_type for event_type, _ in catalog.validators}:
        raise PipelinesError(
            f"read_models/models/{module}.py: the catalog has no event type {', '.join(sorted(unknown))}; correct the "
            "name, or add its schema (docs/events.md)"
        )
    for column, fields, events in declared.fields_read():
        known = [catalog.fields_of(event) for event in events]
        if None not in known and (astray := fields - set().union(*(names or () for names in known))):
            name = min(astray)
            added = (
                "only a schema promises a list"
                if column == "each"
                else f"or write data['{name}'] if a producer adds it"
            )
            raise PipelinesError(
                f"read_models/models/{module}.py: {column} reads the field {name}, which no schema of "
                f"{' or '.join(events)} has; correct the name, {added}"
            )
    return declared


READ_MODELS: dict[str, ReadModel] = {
    found.name: model_of(found.name, getattr(import_module(f"{__name__}.{found.name}"), "MODEL", None))
    for found in iter_modules(__path__)
}
