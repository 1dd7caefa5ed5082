"""Dagster's processes on this machine: the webserver (the UI) and the daemon (schedules, sensors, the run queue).

Defines their environment, their folder in the state folder, how they are started, found ready and stopped. What they
load is said by `workspace.yaml`, how Dagster stores and runs by `dagster.yaml`, both beside this project's README.
"""

from __future__ import annotations

import http.client
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.local import ports
from analytics_pipelines.local.files import write_private
from analytics_pipelines.local.postgres import DAGSTER_DATABASE
from analytics_pipelines.local.process import ManagedProcess
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from analytics_pipelines.settings import Settings

# Ten seconds on two idle processors; the code location and all that it imports are loaded first.
DOTENV_HEADER = "# Written by `pipelines up` for Dagster's own commands."
START_SECONDS = 180.0


def webserver(home: Path) -> ManagedProcess:
    """Name the state folder's webserver process."""
    return ManagedProcess(home, "webserver", "The Dagster UI")


def daemon(home: Path) -> ManagedProcess:
    """Name the state folder's daemon process."""
    return ManagedProcess(home, "daemon", "The Dagster daemon")


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Say in environment variables where Dagster finds its folder, its database and this platform.

    Raises:
        PipelinesError: no Postgres is configured.
    """
    if settings.database_url is None:
        raise PipelinesError("no Postgres is configured; run `pipelines up`, or set PIPELINES_DATABASE_URL")
    return {
        "PIPELINES_HOME": str(settings.home),
        "DAGSTER_HOME": str(settings.home / "dagster"),
        "PIPELINES_DAGSTER_DATABASE_URL": dagster_database_url(settings.database_url.get_secret_value()),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        # The models here are small: BLAS threads would spin against each other (1.5 s a forecast instead of 0.1 s).
        "OPENBLAS_NUM_THREADS": "1",
    }


def dagster_database_url(database_url: str) -> str:
    """Name Dagster's database on the server and with the login of `database_url`, for SQLAlchemy.

    The login is kept as it is written, quoting included; the driver is named, because Dagster works with psycopg2 only.
    """
    parts = urlsplit(database_url)
    query = f"?{parts.query}" if parts.query else ""
    return f"postgresql+psycopg2://{parts.netloc}/{DAGSTER_DATABASE}{query}"


def write_dotenv(settings: Settings) -> None:
    """Write `.env` into the project for Dagster's own commands (`dg dev`, `dg check defs`), which read it.

    Only for the state folder inside the project, and never over a file that somebody else wrote.
    """
    path = PROJECT_FOLDER / ".env"
    foreign = path.exists() and not path.read_text(encoding="utf-8").startswith(DOTENV_HEADER)
    if settings.home.parent != PROJECT_FOLDER or foreign:
        return
    lines = [f"{name}={shlex.quote(value)}" for name, value in dagster_environment(settings).items()]
    write_private(path, "\n".join([DOTENV_HEADER, *lines, ""]))


def prepare(home: Path) -> None:
    """Make Dagster's folder, whose `dagster.yaml` is the project's."""
    folder = home / "dagster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    link, target = folder / "dagster.yaml", PROJECT_FOLDER / "dagster.yaml"
    if not (link.is_symlink() and link.readlink() == target):
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def ui_port(settings: Settings) -> int:
    """Return the port that the webserver was started on, or, if it does not run, would be."""
    running = webserver(settings.home).find()
    command = running.cmdline() if running else []
    return int(command[command.index("-p") + 1]) if "-p" in command else settings.ui_port


def start(settings: Settings) -> None:
    """Start the webserver and the daemon, or attach to the running ones; the UI answers when this returns.

    A webserver that runs on another port than the settings name is started anew.

    Raises:
        PipelinesError: the UI's port is taken, or one of them does not start.
    """
    ui, background = webserver(settings.home), daemon(settings.home)
    environment = {**os.environ, **dagster_environment(settings)}
    # They run in the state folder: in the project's, Dagster would put its .env above this environment.
    workspace = ["-w", PROJECT_FOLDER / "workspace.yaml"]
    listen = ["-h", ports.HOST, "-p", str(settings.ui_port)]
    if ui_port(settings) != settings.ui_port:
        ui.stop()
    if ui.find() is None:
        ports.require_free(settings.ui_port, "stop it or set PIPELINES_UI_PORT")
        ui.start([*_script("dagster-webserver"), *listen, *workspace], environment=environment, folder=settings.home)
    if background.find() is None:
        background.start([*_script("dagster-daemon"), "run", *workspace], environment=environment, folder=settings.home)
    ui.wait_until(lambda: _serves(settings.ui_port), START_SECONDS)
    if background.find() is None:
        background.fail("ended while starting")


def _script(name: str) -> list[str | Path]:
    """Name a program of this environment, run by this very interpreter, so that a moved environment works, too."""
    return [sys.executable, Path(sys.executable).parent / name]


def _serves(port: int) -> bool:
    """Tell whether a Dagster webserver answers on the port."""
    connection = http.client.HTTPConnection(ports.HOST, port, timeout=5)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
