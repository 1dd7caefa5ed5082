"""Real logs, mapped to events, fold to what pandas counts in the files."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from analytics_pipelines.event_log import EventStore, NewEvent
from analytics_pipelines.read_models import projector
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import PROJECT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from psycopg_pool import ConnectionPool

REAL = Path(os.environ.get("SHARED_DATA", PROJECT_FOLDER.parent / "shared" / "data"))
CASES, STEPS = 4_580, 21_348
COMMITS, CHANGES = 9_604, 79_695
LONGEST_IDENTIFIER = 150
# What a change to a file is to a product: added, modified, deleted, renamed and whatever else git tells.
STOCK = {"A": "stock_received", "M": "stock_reserved", "D": "stock_released"}


def real(name: str) -> Path:
    """Return a real data set's folder, or skip."""
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"the real data set {name} is not at {folder}")
    return folder


def fold(pool: ConnectionPool, events: Iterable[NewEvent], *names: str) -> None:
    """Append the events and bring these models up to date."""
    store = EventStore(pool)
    assert store.append_batch("real", events).quarantined == 0
    with pool.connection() as connection:
        projector.advance(connection, [READ_MODELS[name] for name in names], store.settled_position())


def rows(pool: ConnectionPool, query: str) -> list[tuple[Any, ...]]:
    """Read rows, sorted."""
    with pool.connection() as connection:
        return sorted(connection.execute(query).fetchall())


def help_desk_steps(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what was done at the help desk, case by case."""
    space = "{http://www.xes-standard.org/}"
    with gzip.open(file) as content:
        log = ET.parse(content).getroot()  # noqa: S314 - read-only test data
        for case in log.iter(f"{space}trace"):
            name = case.find(f"{space}string")
            assert name is not None
            for event in case.iter(f"{space}event"):
                values = {item.get("key"): item.get("value") for item in event}
                at = pd.Timestamp(values["time:timestamp"]).to_pydatetime()
                yield {"case": name.get("value"), "person": values["org:resource"], "at": at}


def test_a_help_desk_folds_to_the_counts_of_pandas(database: ConnectionPool) -> None:
    """Its people as agents, its cases as workspaces: executions, durations and last moments are the file's."""
    log = pd.DataFrame(help_desk_steps(real("helpdesk") / "helpdesk.xes.gz"))
    until_next = log.groupby("case")["at"].shift(-1).sub(log["at"]).dt.total_seconds()
    log["seconds"] = until_next.clip(0, 10**6).fillna(0).astype(int)
    events = [
        NewEvent(
            "helpdesk",
            str(number),
            f"agent-{person}",
            "agent_execution_completed",
            at.to_pydatetime(),
            {"execution_id": str(number), "agent_id": person, "workspace_id": case,
             "duration_ms": seconds * 1000, "credits": 1},
        )
        for number, (case, person, at, seconds) in enumerate(log.itertuples(index=False, name=None))
    ]  # fmt: skip
    fold(database, events, "agent_performance", "workspace_summary")

    people = log.groupby("person").agg(
        steps=("at", "size"), least=("seconds", "min"), most=("seconds", "max"), total=("seconds", "sum"),
        last=("at", "max"),
    )  # fmt: skip
    found = rows(
        database,
        "select agent_id, executions, shortest_ms / 1000, longest_ms / 1000, duration_ms / 1000, last_event_at"
        " from read_models.agent_performance",
    )
    assert found == sorted(people.itertuples(name=None))
    cases = log.groupby("case").agg(steps=("at", "size"), first=("at", "max"))
    found = rows(database, "select workspace_id, executions, last_event_at from read_models.workspace_summary")
    assert found == sorted(cases.itertuples(name=None))
    assert (len(found), sum(row[1] for row in found)) == (CASES, STEPS)


def test_git_histories_fold_to_the_counts_of_pandas(database: ConnectionPool) -> None:
    """Commits as sessions and messages, changes of files as stock: each count is that of the files.

    Commits are sent as they were committed and occurred when they were authored: late by nature.
    """
    folder = real("git-event-logs")
    commits = together(folder, "commits").sort_values("committed_at", kind="stable")
    changes = together(folder, "file_events")
    assert (len(commits), len(changes)) == (COMMITS, CHANGES)
    changes["path"] = changes["repository"] + "/" + changes["path"]
    changes = changes[changes["path"].str.len() <= LONGEST_IDENTIFIER]
    fold(
        database,
        [*commit_events(commits), *change_events(changes)],
        "workspace_summary", "relationship_edges", "product_stock",
    )  # fmt: skip

    by_repository = commits.groupby("repository").agg(
        sessions=("commit", "size"), people=("author_id", "nunique"), last=("authored_at", "max")
    )
    found = rows(
        database, "select workspace_id, sessions, active_users, last_event_at from read_models.workspace_summary"
    )
    assert found == sorted(by_repository.itertuples(name=None))
    pairs = commits.groupby(["author_id", "committer_id"]).agg(
        n=("commit", "size"), first=("authored_at", "min"), last=("authored_at", "max")
    )
    found = rows(
        database, "select source_id, target_id, interactions, first_at, last_at from read_models.relationship_edges"
    )
    assert found == sorted((*pair, *values) for pair, *values in pairs.itertuples(name=None))
    by_path = pd.crosstab(changes["path"], changes["change"])[list(STOCK)]
    found = rows(
        database,
        "select product_id, units_received, units_reserved, units_released from read_models.product_stock",
    )
    assert found == sorted(by_path[by_path.sum(axis=1) > 0].itertuples(name=None))


def together(folder: Path, kind: str) -> pd.DataFrame:
    """Read one kind of file of all repositories; moments in UTC."""
    found = [
        pd.read_csv(path, dtype=str).assign(repository=path.name.partition("_")[0])
        for path in sorted(folder.glob(f"*_{kind}.csv.xz"))
    ]
    every = pd.concat(found, ignore_index=True)
    for column in every.columns.intersection(["authored_at", "committed_at"]):
        every[column] = pd.to_datetime(every[column], utc=True)
    return every


def commit_events(commits: pd.DataFrame) -> Iterator[NewEvent]:
    """A commit is a session of its author, and a message from its author to who committed it."""
    columns = ["repository", "commit", "author_id", "committer_id", "authored_at"]
    for number, (repository, commit, author, committer, at) in enumerate(commits[columns].itertuples(index=False)):
        session = {"session_id": commit, "user_id": author, "workspace_id": repository}
        moment = at.to_pydatetime()
        yield NewEvent("git", f"session-{number}", f"session-{commit}", "session_started", moment, session)
        message = {"message_id": commit, "sender_id": author, "recipient_id": committer, "channel": "git"}
        yield NewEvent("git", f"message-{number}", f"lead-{author}", "message_exchanged", moment, message)


def change_events(changes: pd.DataFrame) -> Iterator[NewEvent]:
    """A file is a product: added units come in, changed ones are set aside, deleted ones are given back."""
    columns = ["path", "change", "commit", "committed_at"]
    for number, (path, change, commit, at) in enumerate(changes[columns].itertuples(index=False)):
        if change in STOCK:
            data = {"product_id": path, "order_id": commit, "quantity": 1}
            yield NewEvent("git", f"change-{number}", f"product-{path}", STOCK[change], at.to_pydatetime(), data)
