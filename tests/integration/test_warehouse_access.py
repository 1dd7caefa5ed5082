"""Logins of BI tools: let in, shut out, and listed, by the command `pipelines access`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.warehouse.commands import access

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from analytics_pipelines.settings import Settings


class Access:
    """Runs the command on a database, and opens sessions of the logins that it made."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings of the database."""
        self.settings = settings
        self.url = urlsplit(connections.admin_url(settings))
        # Logins belong to the server, so they are named for the test's own database.
        self.login = f"ana_{self.url.path.strip('/')}"

    def run(self, *arguments: str, given: str | None = None) -> Result:
        """Run the command."""
        return CliRunner().invoke(access, arguments, input=given)

    def listed(self) -> list[dict[str, Any]]:
        """Return what the list says of logins of this test."""
        return [row for row in json.loads(self.run("list", "--json").stdout) if row["login"] == self.login]

    def session(self, password: str) -> psycopg.Connection:
        """Open a session of the login."""
        place = self.url._replace(netloc=f"{self.login}:{password}@{self.url.hostname}:{self.url.port}")
        return psycopg.connect(place.geturl(), autocommit=True)

    def drop(self) -> None:
        """Remove the login."""
        with psycopg.connect(self.url.geturl()) as admin:
            admin.execute(sql.SQL("drop role if exists {}").format(sql.Identifier(self.login)))


@pytest.fixture
def bi(database_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Access]:
    """The command over a fresh database with a row of features of two tenants."""
    from analytics_pipelines import settings as module

    monkeypatch.setattr(module, "load_settings", lambda: database_settings)
    with psycopg.connect(connections.admin_url(database_settings)) as admin:
        admin.execute(
            "insert into features.lead_engagement select t, '1', now(), 1 from unnest('{acme,other}'::text[]) as t"
        )
        admin.execute("insert into event_log.streams (tenant_id, stream_id, version) values ('acme', 'lead-1', 1)")
    made = Access(database_settings)
    yield made
    made.drop()


def test_a_login_is_made_sees_its_tenants_and_is_shut_out_again(bi: Access) -> None:
    """Each grant adds a tenant, each revocation takes one, at once; without any left it reads nothing."""
    made = bi.run("grant", bi.login, "--tenant", "acme", "--create")
    assert (made.exit_code, made.stderr) == (0, f"{bi.login} sees acme\n")
    query = "select tenant_id from features.lead_engagement order by 1"
    with bi.session(made.stdout.strip()) as session:
        assert session.execute(query).fetchall() == [("acme",)]
        settings = "statement_timeout", "default_transaction_read_only", "idle_in_transaction_session_timeout"
        assert [session.execute(f"show {name}").fetchone() for name in settings] == [("30s",), ("on",), ("30s",)]
        assert bi.listed() == [
            {"login": bi.login, "tenants": ["acme"], "is_reader": True, "connection_limit": 10,
             "statement_timeout": "30s"}
        ]  # fmt: skip

        assert bi.run("grant", bi.login, "--tenant", "other", "--connections", "3").exit_code == 0
        assert session.execute(query).fetchall() == [("acme",), ("other",)]
        # What was chosen before is kept by a grant that does not name it.
        assert bi.run("grant", bi.login, "--tenant", "third", "--statement-seconds", "5").exit_code == 0
        [row] = bi.listed()
        assert (row["tenants"], row["connection_limit"], row["statement_timeout"]) == (
            ["acme", "other", "third"],
            3,
            "5s",
        )

        assert bi.run("revoke", bi.login, "--tenant", "acme").stdout == f"{bi.login} still sees other, third\n"
        assert session.execute(query).fetchall() == [("other",)]
        assert bi.run("revoke", bi.login).stdout == f"{bi.login} sees nothing any more\n"
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(query)
    assert bi.listed() == []


def test_a_tenant_without_events_is_noticed(bi: Access) -> None:
    """A name that the log does not know is granted, as its events may come, and said: it may be misspelt."""
    made = bi.run("grant", bi.login, "--tenant", "acme", "--tenant", "akme", "--create")

    note = "note: the log has no events of tenant akme yet; is the name right?"
    assert (made.exit_code, made.stderr) == (0, f"{bi.login} sees acme, akme\n{note}\n")


def test_a_password_may_be_given(bi: Access) -> None:
    """It is read from standard input, so that it stands in no list of processes, and is printed nowhere."""
    made = bi.run("grant", bi.login, "--tenant", "acme", "--create", "--password-stdin", given="se cret\n")

    assert (made.exit_code, made.output) == (0, f"{bi.login} sees acme\n")
    bi.session("se%20cret").close()
    assert bi.run("grant", bi.login, "--tenant", "acme", "--password-stdin", given="x\n").exit_code == 2
    assert bi.run("grant", bi.login, "--tenant", "acme", "--create", "--password-stdin", given="").exit_code == 2


def test_what_is_wrong_is_one_line(bi: Access) -> None:
    """Each kind of mistake is told with what to do, and changes nothing."""
    runtime = connections.runtime_login(bi.settings)[0]
    for arguments, told in (
        (("grant", bi.login, "--tenant", "acme"), "no login .* add --create"),
        (("grant", bi.login, "--tenant", "a b", "--create"), "tenant 'a b': give 1 to 100"),
        (("grant", "x" * 64, "--tenant", "acme", "--create"), "names of 1 to 63 bytes"),
        (("grant", runtime, "--tenant", "acme"), "reads the log itself and so sees every tenant"),
        (("grant", "bi_reader", "--tenant", "acme"), "is a group"),
        (("grant", runtime, "--tenant", "acme", "--create"), "exists already"),
        (("revoke", bi.login), "is no login of BI"),
    ):
        with pytest.raises(PipelinesError, match=told):
            raise bi.run(*arguments).exception or AssertionError(arguments)
    assert bi.listed() == []
    bi.run("grant", bi.login, "--tenant", "acme", "--create")
    with pytest.raises(PipelinesError, match="does not see other; nothing was taken"):
        raise bi.run("revoke", bi.login, "--tenant", "acme", "--tenant", "other").exception or AssertionError
    assert bi.listed()[0]["tenants"] == ["acme"]


def test_the_runtime_login_lets_nobody_in(bi: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an admin's URL the command says what it takes; the platform's own login may make no others."""
    from analytics_pipelines import settings as module

    without = bi.settings.model_copy(update={"admin_database_url": None})
    monkeypatch.setattr(module, "load_settings", lambda: without)

    with pytest.raises(PipelinesError, match=r"refused: permission denied .* set PIPELINES_ADMIN_DATABASE_URL"):
        raise bi.run("grant", bi.login, "--tenant", "acme", "--create").exception or AssertionError
