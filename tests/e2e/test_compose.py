"""What docker-compose.yml and the Dockerfile say, held to what they promise without a container engine.

The image's files are gathered as the Dockerfile copies them, and the commands of the compose file are started from them
as processes, with the services' environment and health checks, against a real Postgres and Redis.
"""

from __future__ import annotations

import base64
import fnmatch
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import yaml

from analytics_pipelines import connections, migrations
from analytics_pipelines.local import platform
from analytics_pipelines.local.process import is_alive
from analytics_pipelines.settings import PROJECT_FOLDER, Settings
from analytics_pipelines.warehouse.manifest import is_stale

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BIN = Path(sys.executable).parent
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT_FOLDER / "docker-compose.yml").read_text(encoding="utf-8"))
SECRETS = ["POSTGRES_PASSWORD", "PIPELINES_PASSWORD", "REDIS_PASSWORD", "MASTER_KEY"]
GIVEN = {"postgres", "redis"}  # other people's images: their place is taken by the platform's own servers
OURS = COMPOSE["services"].keys() - GIVEN
LONG_RUNNING = COMPOSE["services"].keys() - {"migrate"}
START_SECONDS = 120.0
RUN_SECONDS = 90.0


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """Put variables into every text of a compose file, as compose does: ${A}, ${A:-default}, ${A:?message} and $$."""
    if isinstance(value, dict):
        return {name: interpolated(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [interpolated(part, variables) for part in value]
    if not isinstance(value, str):
        return value

    def substitute(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        assert found["name"], f"a dollar sign that compose does not understand: {value}"
        given = variables.get(found["name"], "")
        if not given and found["operator"] == ":?":
            raise LookupError(f"required variable {found['name']} is missing a value: {found['text']}")
        return given or (found["text"] if found["operator"] == ":-" else "")

    return re.sub(r"\$\$|\$(\{(?P<name>\w+)((?P<operator>:[-?])(?P<text>[^}]*))?\})?", substitute, value)


def texts(value: Any, name: Any = "") -> Iterator[tuple[str, str]]:
    """Yield every text of a compose file with the name that it stands under."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from texts(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part, name)
    else:
        yield name, str(value)


def dockerfile() -> list[list[tuple[str, str]]]:
    """Read the Dockerfile: for each stage its instructions, each a keyword and the rest."""
    lines = (PROJECT_FOLDER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#")).replace("\\\n", "")
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, text.splitlines()):
        keyword, *words = line.split()
        if keyword == "FROM":
            stages.append([])
        stages[-1].append((keyword, " ".join(words)))
    return stages


def let_through(path: PurePosixPath) -> bool:
    """Tell whether .dockerignore lets a file into the build: the last pattern for it or a folder above it decides."""
    kept = True
    for pattern in (PROJECT_FOLDER / ".dockerignore").read_text(encoding="utf-8").split():
        if any(fnmatch.fnmatchcase(str(part), pattern.lstrip("!")) for part in (path, *path.parents)):
            kept = pattern.startswith("!")
    return kept


def copied() -> list[str]:
    """Return what the Dockerfile copies out of the project."""
    build = dockerfile()[0]
    return [source for keyword, rest in build if keyword == "COPY" and "--" not in rest for source in rest.split()[:-1]]


def seconds(duration: str) -> float:
    """Read a duration of the compose file."""
    return float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


# What the files say.


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_starts_without_each_password(name: str) -> None:
    """A forgotten password is one line that names it, never a server without one."""
    others = dict.fromkeys(SECRETS, "x") | {name: ""}
    with pytest.raises(LookupError, match=f"required variable {name} is missing a value: set it in .env"):
        interpolated(COMPOSE, others)


def test_no_secret_stands_in_the_files() -> None:
    """Wherever a password belongs, a variable stands that must be given."""
    required = r"\$\{(" + "|".join(SECRETS) + r"):\?[^}]+\}"
    places: set[str] = set()
    for name, text in texts({part: COMPOSE[part] for part in ("services", "configs")}):
        secret = re.search(r"://\w*:(.*?)@", text) or re.search(r"requirepass (.*)", text)
        if secret or re.search("PASSWORD|AUTH|SECRET|TOKEN|KEY", name):
            places.add(name)
            assert re.fullmatch(required, secret[1] if secret else text), name
        else:
            assert not any(word in text for word in SECRETS), name
    urls = {"PIPELINES_DATABASE_URL", "PIPELINES_ADMIN_DATABASE_URL", "PIPELINES_DAGSTER_DATABASE_URL"}
    assert places == urls | {
        "PIPELINES_REDIS_URL",
        "PIPELINES_MASTER_KEY",
        "POSTGRES_PASSWORD",
        "REDISCLI_AUTH",
        "content",
    }
    words = (PROJECT_FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search("password|secret|token", words, re.IGNORECASE)


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_what_should_run_is_watched_and_restarted(name: str) -> None:
    """Every long-running service has a health check of its own and comes back after a crash or a reboot."""
    service = COMPOSE["services"][name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["healthcheck"].keys() >= {"interval", "timeout", "retries"}
    assert service["restart"] == "unless-stopped"


def test_code_server_is_given_time_for_the_runs_under_way() -> None:
    """Stopping lets runs end, which the code server waits for, instead of having them killed and tried again."""
    assert seconds(COMPOSE["services"]["code"]["stop_grace_period"]) >= 300


def test_settings_of_this_machine_do_not_reach_the_containers() -> None:
    """What `pipelines up` writes into .env, or `pipelines env` prints, changes nothing in the compose file."""
    names = set(re.findall(r"\$\{(\w+)", (PROJECT_FOLDER / "docker-compose.yml").read_text(encoding="utf-8")))
    assert {name for name in names if name.startswith(("PIPELINES_", "DAGSTER_"))} == {"PIPELINES_PASSWORD"}


def test_only_the_ui_is_published_and_only_on_the_server_itself() -> None:
    """Nobody reaches Postgres, Redis or the code server from outside; the UI is for the proxy before it."""
    services = interpolated(COMPOSE, dict.fromkeys(SECRETS, "x") | {"UI_PORT": "8080"})["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"webserver": ["127.0.0.1:8080:8080"]}


def test_nothing_has_more_power_than_it_needs() -> None:
    """Our containers drop every capability, nobody is given one, and no container sees into the server."""
    power = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode", "user"}
    for name, service in COMPOSE["services"].items():
        assert not power & service.keys(), name
        assert not any(volume.startswith(("/", ".", "~")) for volume in service["volumes"]), name
    for name in OURS:
        assert COMPOSE["services"][name]["cap_drop"] == ["ALL"]
        assert COMPOSE["services"][name]["security_opt"] == ["no-new-privileges:true"]
        assert COMPOSE["services"][name]["init"] is True


def test_images_are_pinned_to_a_major_version() -> None:
    """An image does not change to its next major version by itself."""
    images = [COMPOSE["services"][name]["image"] for name in GIVEN]
    for keyword, rest in itertools.chain(*dockerfile()):
        images += rest.split()[:1] if keyword == "FROM" else re.findall(r"--from=(\S+/\S+)", rest)
    assert {image.split(":")[0].split("/")[-1] for image in images} == {"postgres", "redis", "python", "uv"}
    assert all(re.search(r":\d", image) for image in images), images


def test_image_is_not_run_by_root() -> None:
    """The image's user is a number, not root's; it owns the state folder, so that new volumes are its, and no code."""
    last = dockerfile()[-1]
    user = [rest for keyword, rest in last if keyword == "USER"][-1]
    made = " ".join(rest for keyword, rest in last if keyword == "RUN")
    assert user.isdecimal()
    assert int(user) > 0
    assert f"useradd --uid {user} " in made
    owned = re.findall(r"install -d -o pipelines -g pipelines ([^&]*)", made)[0].split()
    volumes = {volume.rsplit(":", 1)[1] for volume in COMPOSE["x-platform"]["volumes"]}
    environment = interpolated(COMPOSE["x-platform"]["environment"], dict.fromkeys(SECRETS, "x"))
    assert set(owned) == {*volumes, environment["PIPELINES_HOME"], environment["DAGSTER_HOME"]}
    assert not any("--chown" in rest for _, rest in last)


def test_build_sees_what_it_copies_and_nothing_private() -> None:
    """What the Dockerfile copies exists and is let through; secrets, history and what a developer made are not."""
    assert "analytics_pipelines" in copied()
    for source in copied():
        assert (PROJECT_FOLDER / source).exists(), source
        assert let_through(PurePosixPath(source)), source
    for private in (".env", ".git", ".pipelines/connection.json", ".venv", "tests/conftest.py"):
        assert not let_through(PurePosixPath(private)), private
    for made in ("dbt_project/target/manifest.json", "analytics_pipelines/__pycache__/cli.pyc"):
        assert not let_through(PurePosixPath(made)), made


# What happens when the commands run.


@dataclass
class Stack:
    """The services of the compose file that are ours, as processes."""

    folder: Path
    services: dict[str, Any]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's whole environment: the image's, with this machine's places, and the service's own."""
        image = {"PATH": f"{BIN}:/usr/bin:/bin", "PYTHONPATH": str(self.folder / "app"), "PYTHONUNBUFFERED": "1"}
        return image | {"HOME": str(self.folder)} | self.services[name]["environment"]

    def start(self, name: str) -> None:
        """Start a service once everything that it depends on is as it should be; first it must not look healthy."""
        service = self.services[name]
        for other, dependency in service["depends_on"].items():
            if other not in GIVEN:
                self.wait(other, dependency["condition"])
        command: list[str] = service["command"]
        places = {config["target"]: str(self.folder / config["source"]) for config in service.get("configs", [])}
        assert places.keys() <= set(command)
        assert not self.is_healthy(name), f"{name} looks healthy before it is started"
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [places.get(word, word) for word in command],
                cwd=self.folder / "app",
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, name: str, condition: str) -> None:
        """Wait until a service is healthy, or until it has completed successfully."""
        process = self.processes[name]
        if condition == "service_completed_successfully":
            assert process.wait(START_SECONDS) == 0, self.log(name)
            return
        assert condition == "service_healthy"
        deadline = time.monotonic() + START_SECONDS
        while not self.is_healthy(name):
            assert process.poll() is None, f"{name} ended: {self.log(name)}"
            assert time.monotonic() < deadline, f"{name} is not healthy: {self.log(name)}"
            time.sleep(1)

    def is_healthy(self, name: str) -> bool:
        """Run a service's own health check, in the time that it is given."""
        if "healthcheck" not in self.services[name]:
            return False
        check = self.services[name]["healthcheck"]
        try:
            done = subprocess.run(
                check["test"][1:],
                cwd=self.folder / "app",
                env=self.environment(name),
                capture_output=True,
                timeout=seconds(check["timeout"]),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def stop(self, name: str) -> list[psutil.Process]:
        """Ask a service to end, as compose does, and return what is left of it when compose would kill it."""
        process = psutil.Process(self.processes[name].pid)
        family = [process, *process.children(recursive=True)]
        process.terminate()
        deadline = time.monotonic() + seconds(self.services[name]["stop_grace_period"])
        while (left := [member for member in family if is_alive(member)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def log(self, name: str) -> str:
        """Return the end of what a service has printed."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def ask(self, query: str, **variables: Any) -> Any:
        """Ask the webserver's GraphQL."""
        port = self.services["webserver"]["ports"][0].split(":")[1]
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the address above
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that Postgres' user can pass through."""
    with tempfile.TemporaryDirectory(prefix="pipelines-compose-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def own_servers(folder: Path, _no_settings_from_outside: None) -> Iterator[Settings]:
    """A Postgres as its image makes it, with one empty database and one login, and a Redis."""
    settings = Settings(home=folder / "servers")
    try:
        settings = platform.up(settings)
        url = urlsplit(connections.admin_url(settings))._replace(path="/postgres").geturl()
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("drop database dagster")
            admin.execute("drop database pipelines")
            admin.execute("drop role pipelines")
            admin.execute("create database pipelines")
        yield settings
    finally:
        platform.down(settings)


@pytest.fixture(scope="module")
def app(folder: Path) -> Path:
    """The image's folder /app: the files that the Dockerfile copies, and what its commands make of them."""
    app = folder / "app"
    for source in copied():
        for path in (PROJECT_FOLDER / source, *(PROJECT_FOLDER / source).rglob("*")):
            place = path.relative_to(PROJECT_FOLDER)
            if path.is_file() and let_through(PurePosixPath(place)):
                (app / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, app / place)
    for keyword, command in dockerfile()[0]:
        if keyword == "RUN" and "uv sync" not in command:  # the libraries are those of this environment
            subprocess.run(["/bin/sh", "-ec", command], cwd=app, env={"PATH": f"{BIN}:/usr/bin:/bin"}, check=True)
    for path in app.rglob("*"):  # the layers of an image keep times in whole seconds
        written = int(path.stat().st_mtime)
        os.utime(path, (written, written))
    return app


@pytest.fixture(scope="module")
def stack(folder: Path, app: Path, own_servers: Settings) -> Iterator[Stack]:
    """All services of the compose file, started in its order, healthy."""
    state = folder / "state"
    (state / "dagster").mkdir(parents=True)  # as the Dockerfile makes it
    (state / "dagster" / "dagster.yaml").symlink_to(app / "dagster.yaml")
    assert own_servers.redis_url
    postgres = urlsplit(connections.admin_url(own_servers))
    redis = urlsplit(own_servers.redis_url.get_secret_value())
    variables = {
        "POSTGRES_PASSWORD": postgres.password,
        "POSTGRES_HOST": postgres.hostname,
        "POSTGRES_PORT": str(postgres.port),
        "REDIS_PASSWORD": redis.password,
        "REDIS_HOST": redis.hostname,
        "REDIS_PORT": str(redis.port),
        "PIPELINES_PASSWORD": secrets.token_hex(),
        "MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "STATE_FOLDER": str(state),
        "LISTEN": "127.0.0.1",
        "CODE_HOST": "127.0.0.1",
        "CODE_PORT": str(free_port()),
        "UI_PORT": str(free_port()),
    }
    compose = interpolated(COMPOSE, {name: value or "" for name, value in variables.items()})
    for name, config in compose["configs"].items():
        (folder / name).write_text(config["content"], encoding="utf-8")
    stack = Stack(folder, compose["services"])
    try:
        for name in ("migrate", "code", "webserver", "daemon"):
            stack.start(name)
        for name in ("webserver", "daemon"):
            stack.wait(name, "service_healthy")
        yield stack
    finally:
        for process in stack.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_image_holds_a_manifest_that_need_not_be_made_again(app: Path) -> None:
    """No service parses the dbt project when it starts: the image's user may not write what that gives."""
    project = app / "dbt_project"
    assert not is_stale(project / "target" / "manifest.json", project)


def test_migrate_makes_the_schema_the_login_and_dagsters_database(stack: Stack, own_servers: Settings) -> None:
    """An empty server becomes the platform's: every migration, a runtime login without power, database `dagster`."""
    newest = max(path.name for path in migrations.FOLDER.glob("[0-9]*.sql"))[:4]
    with psycopg.connect(connections.admin_url(own_servers)) as admin:
        assert admin.execute("select version_num from alembic_version").fetchall() == [(newest,)]
        owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'dagster'"
        assert admin.execute(owner).fetchall() == [("pipelines",)]
    environment = stack.services["code"]["environment"]
    assert "PIPELINES_ADMIN_DATABASE_URL" not in environment
    with psycopg.connect(environment["PIPELINES_DATABASE_URL"]) as login:
        power = (
            "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = current_user"
        )
        assert login.execute(power).fetchall() == [(False,)]
        login.execute("set role pipelines_runtime")
        assert login.execute("select count(*) from event_log.events").fetchall() == [(0,)]


def test_webserver_lists_every_asset_of_the_code_server(stack: Stack) -> None:
    """The catalog is that of the definitions, without load errors, under the name that workspace.yaml gives it."""
    answer = stack.ask(
        """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
             __typename ... on PythonError { message } } } } }
             assetNodes { assetKey { path } } }"""
    )
    workspace = yaml.safe_load((PROJECT_FOLDER / "workspace.yaml").read_text(encoding="utf-8"))
    assert answer["workspaceOrError"]["locationEntries"] == [
        {
            "name": workspace["load_from"][0]["python_module"]["location_name"],
            "loadStatus": "LOADED",
            "locationOrLoadError": {"__typename": "RepositoryLocation"},
        }
    ]
    from analytics_pipelines.definitions import defs

    defined = {tuple(spec.key.path) for spec in defs.resolve_all_asset_specs()}
    demo = {("sources", "grocer"), ("sources", "saas")}
    assert {tuple(node["assetKey"]["path"]) for node in answer["assetNodes"]} == defined - demo


def test_daemon_keeps_schedules_and_sensors_going(stack: Stack) -> None:
    """Every daemon is well, all schedules and sensors are on, and the sensors have looked, with database and all."""
    query = """{
      instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
      workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { ... on RepositoryLocation {
        repositories {
          schedules { scheduleState { status } }
          sensors { name sensorState { status ticks(limit: 1) { status error { message } } } }
        }
      } } } } }
    }"""
    deadline = time.monotonic() + START_SECONDS
    while True:
        answer = stack.ask(query)
        repository = answer["workspaceOrError"]["locationEntries"][0]["locationOrLoadError"]["repositories"][0]
        ticks = [tick for sensor in repository["sensors"] for tick in sensor["sensorState"]["ticks"]]
        if len(ticks) == len(repository["sensors"]) and all(tick["status"] != "STARTED" for tick in ticks):
            break
        assert time.monotonic() < deadline, stack.log("daemon")
        time.sleep(0.5)
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    assert [daemon for daemon in daemons if daemon["required"] and not daemon["healthy"]] == []
    assert {daemon["daemonType"] for daemon in daemons if daemon["required"]} >= {
        "SCHEDULER", "SENSOR", "QUEUED_RUN_COORDINATOR", "MONITORING",
    }  # fmt: skip
    assert {sensor["name"] for sensor in repository["sensors"]} >= {"landing_folder", "campaign_launch_sensor"}
    states = [item["scheduleState"] for item in repository["schedules"]]
    states += [item["sensorState"] for item in repository["sensors"]]
    assert {state["status"] for state in states} == {"RUNNING"}
    assert [tick for tick in ticks if tick["status"] != "SKIPPED"] == []


def test_run_goes_from_the_ui_through_the_queue_to_the_code_server_and_its_output_back(stack: Stack) -> None:
    """A run asked for in the UI succeeds, and the webserver shows what it printed."""
    launched = stack.ask(
        """mutation ($job: JobOrPipelineSelector!) { launchRun(executionParams: {selector: $job}) {
             __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        job={
            "repositoryLocationName": "analytics_pipelines",
            "repositoryName": "__repository__",
            "jobName": "clean_up",
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    query = """query ($id: ID!) { runOrError(runId: $id) { ... on Run { status eventConnection { events {
                 __typename ... on LogsCapturedEvent { fileKey } } } } } }"""
    deadline = time.monotonic() + RUN_SECONDS
    while (run := stack.ask(query, id=run_id)["runOrError"])["status"] not in {"SUCCESS", "FAILURE", "CANCELED"}:
        assert time.monotonic() < deadline, (run["status"], stack.log("daemon"), stack.log("code"))
        time.sleep(0.5)
    assert run["status"] == "SUCCESS"
    files = [
        event["fileKey"] for event in run["eventConnection"]["events"] if event["__typename"] == "LogsCapturedEvent"
    ]
    captured = stack.ask(
        "query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }", key=[run_id, "compute_logs", files[0]]
    )["capturedLogs"]
    assert "removed 0 runs" in captured["stderr"]


def test_every_service_ends_by_itself_when_asked(stack: Stack) -> None:
    """Each service ends on SIGTERM with all that it has started, before compose would kill it."""
    for name in ("webserver", "daemon", "code"):  # the last test: the others need what ends here
        assert stack.stop(name) == [], stack.log(name)
