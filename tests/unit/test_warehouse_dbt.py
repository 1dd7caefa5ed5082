"""How dbt is called and understood, without running it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from analytics_pipelines.warehouse.dbt import build_command, dbt_environment, node_result, parse_line

HOSTILE = "p@ss:w/rd%20#?&="
URL = "postgresql://app:p%40ss%3Aw%2Frd%2520%23%3F%26%3D@db.example:5433/shop"


def event(name: str = "model.analytics_pipelines.fct_orders") -> str:
    """Return dbt's line about a finished node."""
    said = {
        "info": {"name": "NodeFinished", "level": "debug", "msg": "Finished"},
        "data": {
            "node_info": {"unique_id": name},
            "run_result": {"status": "error", "execution_time": 1.5, "message": "no relation", "num_failures": 0},
        },
    }
    return orjson.dumps(said).decode()


def test_a_url_is_split_for_dbt() -> None:
    """Every part of the connection URL reaches dbt, with a password full of characters that URLs reserve."""
    environment = dbt_environment(URL, 42)

    assert environment["PIPELINES_DBT_HOST"] == "db.example"
    assert environment["PIPELINES_DBT_PORT"] == "5433"
    assert environment["PIPELINES_DBT_USER"] == "app"
    assert environment["PIPELINES_DBT_DBNAME"] == "shop"
    assert environment["DBT_ENV_SECRET_PIPELINES_PASSWORD"] == HOSTILE


def test_a_session_of_dbt_is_pinned() -> None:
    """The sessions of dbt read up to the given position, in UTC, and keep the URL's own options and TLS mode."""
    environment = dbt_environment(f"{URL}?sslmode=require&options=-c%20work_mem%3D64MB", 42)

    assert environment["PGOPTIONS"] == (
        "-c work_mem=64MB -c timezone=UTC -c client_connection_check_interval=2s -c pipelines.up_to_position=42"
    )
    assert environment["PGSSLMODE"] == "require"


def test_the_password_stands_in_one_variable_only() -> None:
    """The password is in the variable that dbt keeps out of its output, and in no other and in no argument."""
    environment = dbt_environment(URL, 42)

    assert [name for name, value in environment.items() if HOSTILE in value] == ["DBT_ENV_SECRET_PIPELINES_PASSWORD"]
    assert HOSTILE not in " ".join(build_command(["fct_orders"], Path("target")))


def test_only_what_is_named_is_built() -> None:
    """The names come last, and dbt adds no test of its own accord to them."""
    command = build_command(["fct_orders", "fct_orders_key_is_unique"], Path("target"))

    assert command[-3:] == ["--select", "fct_orders", "fct_orders_key_is_unique"]
    assert command[command.index("--indirect-selection") + 1] == "empty"


@pytest.mark.parametrize("password", ["", HOSTILE, "data", "pipelines", "x", 'a"b\\c'])
def test_results_are_read_whatever_the_password_is(password: str) -> None:
    """A password whose text dbt blots out of its own output, even within names, leaves the result understood."""
    line = event()
    blotted = line.replace(password, "*****") if password else line

    said = parse_line(blotted, password)

    assert said is not None
    result = node_result(said, "")
    assert result.unique_id == "model.analytics_pipelines.fct_orders"
    assert (result.status, result.seconds, result.message, result.failures) == ("error", 1.5, "no relation", 0)


def test_a_message_never_shows_the_password() -> None:
    """What a person reads has the password blotted out."""
    said = parse_line(event(), "")

    assert said is not None
    assert node_result(said, "relation").message == "no *****"


def test_other_output_is_no_event() -> None:
    """A traceback between the events is not mistaken for one."""
    assert parse_line("Traceback (most recent call last):\n", "") is None
