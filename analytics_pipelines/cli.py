"""The `pipelines` command: puts the rooms' own commands together.

Defines how a command fails: an error that a person can put right is one line and exit code 1, wrong use is exit code 2,
and only `--debug` shows a traceback. A command itself stands in its room's `commands.py`.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import click

from analytics_pipelines.automation import commands as automation
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import commands as event_log
from analytics_pipelines.features import commands as features
from analytics_pipelines.ingestion import commands as ingestion
from analytics_pipelines.local import commands as local
from analytics_pipelines.migrations import commands as migrations
from analytics_pipelines.read_models import commands as read_models
from analytics_pipelines.sagas import commands as sagas
from analytics_pipelines.warehouse import commands as warehouse

if TYPE_CHECKING:
    from dagster import Definitions

ROOMS = (local, migrations, ingestion, event_log, automation, read_models, features, sagas, warehouse)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="analytics-pipelines")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def pipelines(context: click.Context, *, debug: bool) -> None:
    """Turn an application's events into an auditable analytics warehouse."""
    del debug  # read by main(), which also catches what fails before a command begins
    context.obj = automation.CommandContext(_load_definitions)


for room in ROOMS:
    for command in room.COMMANDS:
        pipelines.add_command(command)


def _load_definitions() -> Definitions:
    from analytics_pipelines.definitions import defs

    return defs


def main() -> None:
    """Run the command line and end the process with an honest exit code."""
    debug = "--debug" in sys.argv[1:2]
    if not debug:
        warnings.simplefilter("ignore")  # those of libraries; the tests turn every warning into an error
    try:
        code = pipelines.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted; run the command again to go on", err=True)
        sys.exit(130)
    except PipelinesError as error:
        if debug:
            raise
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or "no message"
        click.echo(f"error: {type(error).__name__}: {text}; run `pipelines --debug ...` for the traceback", err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
