"""The room's part of the command line."""

from __future__ import annotations

from analytics_pipelines.read_models.as_of_commands import as_of

COMMANDS = [as_of]
