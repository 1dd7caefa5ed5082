"""Running dbt: one process per run, its results as they come.

Defines `build()`, `write_docs()` and `run()`. What the models and tests are is `manifest`; what Dagster makes of the
results is `assets`.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg.pq import Conninfo

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.warehouse.manifest import DBT, PROJECT, project_code

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from datetime import date
    from pathlib import Path

    from analytics_pipelines.settings import Settings

STOP_SECONDS = 10
PIPE_BYTES = 1 << 20
"""Room for what dbt says about a whole run, so that it need not wait for its reader."""

SCRUBBED = "*****"
"""What dbt writes wherever its output happens to contain the password."""

# Marts have locks of their own: this one keeps two runs from making the same in turns. (2017, 1) is the log's.
_LOCK = "select pg_advisory_lock(2017, 2)"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one model or test.

    Attributes:
        unique_id: dbt's name for it.
        status: success, error or skipped for a model; pass, warn, fail, error or skipped for a test.
        seconds: how long it took.
        message: what the database answered, or what went wrong.
        failures: for a test, the rows that break it.
    """

    unique_id: str
    status: str
    seconds: float
    message: str
    failures: int


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of the marts is made, beside what new events touched.

    Attributes:
        first_day: the first UTC day whose rows are made anew, of every mart that has days.
        last_day: the last one.
        whole: make every row of every mart anew.
    """

    first_day: date | None = None
    last_day: date | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        """Refuse half a range.

        Raises:
            PipelinesError: only one of the days is given, or they are the wrong way round.
        """
        if (self.first_day is None) != (self.last_day is None) or (
            self.first_day and self.last_day and self.first_day > self.last_day
        ):
            raise PipelinesError(
                f"days from {self.first_day} to {self.last_day}: give both first_day and last_day, in this order"
            )


TOUCHED = Extent()
"""What new events touched, and nothing else."""


def build(
    settings: Settings, names: Sequence[str], *, up_to_position: int, extent: Extent = TOUCHED, run_id: str = ""
) -> Generator[NodeResult]:
    """Build models and run tests in one dbt process, and tell the result of each as it finishes.

    What is built from a model that failed, or that failed a test, is left out; the failed test itself raises nothing.
    Closing the iterator stops dbt and what it is doing in the database. Builds of one database wait for each other.

    Args:
        settings: which database.
        names: the models and tests, by name; nothing else is built.
        up_to_position: the position of the log up to which staging reads.
        extent: what is made beside that.
        run_id: the run, for the account.

    Raises:
        PipelinesError: a model could not be built (after all results were told), dbt knows no node of a given name, or
            dbt could not run at all.
    """
    url = connections.database_url(settings)
    environment = dbt_environment(url, up_to_position, extent, run_id)
    password = environment["DBT_ENV_SECRET_PIPELINES_PASSWORD"]
    failed: list[NodeResult] = []
    has_failed_test = False
    untold = set(names)
    with (
        _only_build(url),
        _process(build_command(names, _target(settings, environment), whole=extent.whole), environment) as process,
    ):
        said: list[str] = []
        for line in process.stdout or ():
            event = parse_line(line, password)
            if event is None:
                said.append(line)
            elif event["info"]["name"] == "NodeFinished":
                result = node_result(event, password)
                untold.discard(result.unique_id.split(".")[2])
                if result.unique_id.startswith("model."):
                    failed += [result] if result.status == "error" else []
                else:
                    has_failed_test |= result.status in {"fail", "error"}
                yield result
            elif event["info"]["level"] == "error":
                said.append(event["info"]["msg"])
        code = process.wait()
    reason = _hide(_one_line(" ".join(said)), password) or f"it ended with code {code}"
    if failed:
        raise PipelinesError(_why(failed))
    if code not in ({0, 1} if has_failed_test else {0}):
        raise PipelinesError(f"dbt could not run, or write down how it went: {reason}")
    if code == 0 and untold:
        raise PipelinesError(f"dbt knows no model or test {', '.join(sorted(untold))}; reload the code location")


def write_docs(settings: Settings) -> Path:
    """Have dbt document the project as one HTML file with everything in it, and return where that is.

    It gets a folder of its own, since dbt's working folder is not to be published with it.

    Raises:
        PipelinesError: dbt could not do so.
    """
    url = connections.database_url(settings)
    environment = dbt_environment(url)
    target = _target(settings, environment)
    command = [*DBT, "--quiet", "--log-level-file", "none", "--no-use-colors", "docs", "generate", "--static"]
    command += ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(target)]
    with _only_build(url), _process(command, environment) as process:
        said, _ = process.communicate()
    if process.returncode != 0:
        reason = _hide(_one_line(said), environment["DBT_ENV_SECRET_PIPELINES_PASSWORD"])
        raise PipelinesError(f"dbt could not write its documentation: {reason}; correct the project")
    settings.docs.mkdir(exist_ok=True)
    return (target / "static_index.html").replace(settings.docs / "index.html")


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Run dbt as its user would, over the project and its warehouse, and return its exit code.

    What it builds it accounts for as a build does. It reads up to the newest position that any run was pinned to.
    """
    environment = os.environ | dbt_environment(connections.database_url(settings))
    environment["PGOPTIONS"] += f" {os.environ.get('PGOPTIONS', '')}"
    return subprocess.run([*DBT, *arguments], cwd=PROJECT, env=environment, check=False).returncode  # noqa: S603


def build_command(names: Sequence[str], target: Path, *, whole: bool = False) -> list[str]:
    """Return the command that builds models and tests by name, and nothing else."""
    return [
        *DBT,
        *("--log-format", "json", "--log-level", "debug", "--log-level-file", "none", "--no-use-colors"),
        *("build", "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--target-path", str(target)),
        *(("--full-refresh",) if whole else ()),
        *("--indirect-selection", "empty", "--exclude-resource-type", "unit_test", "--select", *names),
    ]


def dbt_environment(
    url: str, up_to_position: int | None = None, extent: Extent = TOUCHED, run_id: str = ""
) -> dict[str, str]:
    """Return the variables that tell dbt where the warehouse is and up to which position to read, else the newest pin.

    What dbt's profile has no word for (TLS, session options) goes by libpq's own variables.
    """
    options = {option.keyword.decode(): option for option in Conninfo.parse(url.encode()) if option.val is not None}
    given = {keyword: (option.val or b"").decode() for keyword, option in options.items()}
    variables = {option.envvar.decode(): given[keyword] for keyword, option in options.items() if option.envvar}
    variables.pop("PGPASSWORD", None)
    # A query whose dbt is gone is ended by the server, not finished.
    pin = "-c timezone=UTC -c client_connection_check_interval=2s"
    if up_to_position is not None:
        pin += f" -c pipelines.up_to_position={up_to_position}"
    if run_id:
        pin += f" -c pipelines.run_id={run_id}"
    if extent.first_day:
        pin += f" -c pipelines.first_day={extent.first_day} -c pipelines.last_day={extent.last_day}"
    return variables | {
        "PIPELINES_DBT_HOST": given.get("host", "127.0.0.1"),
        "PIPELINES_DBT_PORT": given.get("port", "5432"),
        "PIPELINES_DBT_USER": given.get("user", ""),
        "PIPELINES_DBT_DBNAME": given.get("dbname", given.get("user", "")),
        "PIPELINES_DBT_CODE": project_code(),
        "DBT_ENV_SECRET_PIPELINES_PASSWORD": given.get("password", ""),
        "PGOPTIONS": f"{given.get('options', '')} {pin}".strip(),
    }


def node_result(event: dict[str, Any], password: str) -> NodeResult:
    """Read dbt's event NodeFinished."""
    result = event["data"]["run_result"]
    return NodeResult(
        unique_id=event["data"]["node_info"]["unique_id"],
        status=result["status"],
        seconds=result["execution_time"],
        message=_hide(result["message"], password),
        failures=result["num_failures"],
    )


def parse_line(line: str, password: str) -> dict[str, Any] | None:
    """Read one line of dbt's output; None when it is no event.

    dbt blots out the password wherever that text occurs, be it in a model's name or in a word of the format itself
    ("data" is somebody's password). It is undone for reading; what people see is blotted out again.
    """
    if password:
        line = line.replace(SCRUBBED, orjson.dumps(password).decode()[1:-1])
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


@contextmanager
def _only_build(url: str) -> Generator[None]:
    """Wait until no other build of this database runs, anywhere, and keep others waiting until the end of the block."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_LOCK)
        yield


@contextmanager
def _process(command: Sequence[str], environment: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """Start dbt in a process group of its own and leave nothing of it behind."""
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        command,
        cwd=PROJECT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call, which takes no lock
        pipesize=PIPE_BYTES,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # dbt then cancels its queries
                try:
                    process.communicate(timeout=STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


def _end_with_parent() -> None:
    """Have Linux interrupt dbt when the run that started it is killed: nobody would hold the lock for it any more."""
    import ctypes

    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGINT)


def _target(settings: Settings, environment: dict[str, str]) -> Path:
    """Return dbt's working folder: one per database, where it finds again what it parsed for it."""
    place = "{PIPELINES_DBT_HOST}_{PIPELINES_DBT_PORT}_{PIPELINES_DBT_DBNAME}".format(**environment)
    folder = settings.home / "dbt" / place.replace("/", "_")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _why(failed: Sequence[NodeResult]) -> str:
    name = failed[0].unique_id.rsplit(".", 1)[-1]
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return f"model {name}{others} could not be built: {_one_line(failed[0].message)}; correct its SQL or what it reads"


def _hide(text: str, password: str) -> str:
    return text.replace(password, SCRUBBED) if password else text


def _one_line(text: str) -> str:
    return " ".join(text.split())
