"""The room's part of the command line."""

from __future__ import annotations

from analytics_pipelines.read_models import as_of_commands, branch_commands, document_commands, rebuild_commands

COMMANDS = [
    *document_commands.COMMANDS,
    *rebuild_commands.COMMANDS,
    *as_of_commands.COMMANDS,
    *branch_commands.COMMANDS,
]
