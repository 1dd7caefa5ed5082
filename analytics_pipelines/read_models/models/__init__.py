"""The read models, a module each.

Defines `READ_MODELS`, all of them, by name. Add a module with a `MODEL` here: the table, the asset, the checks, the
tests and the documentation follow from its declaration (docs/how-to/add-a-read-model.md).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics_pipelines.read_models.declaration import ReadModel

READ_MODELS: dict[str, ReadModel] = {
    found.name: import_module(f"{__name__}.{found.name}").MODEL for found in iter_modules(__path__)
}
