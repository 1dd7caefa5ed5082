"""The outbox of another Postgres: rows that commit late come all the same, once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from analytics_pipelines import connections
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import batch
from analytics_pipelines.ingestion import once, outbox
from analytics_pipelines.ingestion.mapping import Mapping
from analytics_pipelines.ingestion.outbox import Outbox, configured, has_news, ingest_outbox, read_checkpoint
from analytics_pipelines.local import platform
from analytics_pipelines.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import BatchResult, EventStore

PROVE = "PROVE" in os.environ
WRITERS = 8 if PROVE else 4
ROWS_EACH = 2_000 if PROVE else 60
MAPPING = Mapping.model_validate(
    {
        "source": "billing",
        "event_type": "order_paid",
        "event_id": "{id}",
        "stream": "order-{order_id}",
        "occurred_at": {"column": "happened_at"},
        "data": {"order_id": "order_id", "amount": {"column": "amount", "type": "decimal"}},
    }
)
INSERT = "insert into outbox (id, order_id, amount) values (%s, %s, 12.50)"


@pytest.fixture(params=["xmin", "xid8"])
def source(request: pytest.FixtureRequest, servers: Settings) -> Iterator[tuple[str, Outbox]]:
    """The admin URL of a database with an outbox table, and how a login that may only read it sees it."""
    name = f"outbox_{os.getpid()}_{time.time_ns()}"
    admin = connections.admin_url(servers)
    url = urlunsplit(urlsplit(admin)._replace(path=f"/{name}"))
    own = "transaction_id" if request.param == "xid8" else None
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    reader = f"{name}_reader"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create role {reader} login password 'reading'")
        connection.execute(
            "create table outbox (id bigserial primary key, order_id text, amount numeric, "
            "happened_at timestamptz not null default now()"
            + (", transaction_id xid8 not null default pg_current_xact_id())" if own else ")")
        )
        connection.execute(f"grant select on outbox to {reader}")
    parts = urlsplit(url)
    reading = parts._replace(netloc=f"{reader}:reading@{parts.hostname}:{parts.port}")
    yield url, Outbox(urlunsplit(reading), "outbox", "shop", [MAPPING], transaction_column=own)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        connection.execute(f"drop role {reader}")


def put(url: str, *order_ids: str) -> None:
    with psycopg.connect(url) as connection:
        for order_id in order_ids:
            connection.execute("insert into outbox (order_id, amount) values (%s, 12.50)", [order_id])


def counts(result: BatchResult) -> tuple[int, int, int]:
    return result.accepted, result.duplicates, result.quarantined


def test_a_row_that_commits_late_is_not_missed(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore
) -> None:
    """While a transaction that has taken an id is open nothing past it is taken; afterwards all of it is."""
    url, outbox = source
    put(url, "before")
    assert has_news(database, outbox)
    assert counts(ingest_outbox(database, outbox)) == (1, 0, 0)
    assert not has_news(database, outbox)
    with psycopg.connect(url) as late:
        late.execute("insert into outbox (order_id, amount) values ('late', 1)")
        put(url, "early")
        assert counts(ingest_outbox(database, outbox)) == (0, 0, 0)
        assert not has_news(database, outbox)
    assert has_news(database, outbox)
    assert counts(ingest_outbox(database, outbox)) == (2, 0, 0)
    assert [event.stream_id for event in store.read()] == ["order-before", "order-late", "order-early"]


def test_ids_handed_out_long_before_their_transaction_are_not_missed(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore
) -> None:
    """An application that takes ids ahead fills a gap from a transaction that begins after the gap was read past."""
    url, outbox = source
    with psycopg.connect(url) as connection:
        row = connection.execute("select nextval('outbox_id_seq')").fetchone()
        assert row is not None
    put(url, "next")
    ingest_outbox(database, outbox)
    with psycopg.connect(url) as connection:
        connection.execute(INSERT, [row[0], "taken ahead"])
    ingest_outbox(database, outbox)
    assert {event.data["order_id"] for event in store.read()} == {"next", "taken ahead"}


@pytest.mark.prove
def test_racing_writers_lose_nothing_and_a_naive_reader_does(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore
) -> None:
    """Writers that wait between id, insert and commit, or roll back: every committed row comes, none of them twice."""
    url, outbox = source
    committed: set[int] = set()
    done = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(url) as connection:
            for number in range(ROWS_EACH):
                row = connection.execute("select nextval('outbox_id_seq')").fetchone()
                assert row is not None
                time.sleep(chance.uniform(0, 0.004))
                connection.execute(INSERT, [row[0], f"{seed}-{number}"])
                time.sleep(chance.uniform(0, 0.004))
                if chance.random() < 0.1:
                    connection.rollback()
                else:
                    connection.commit()
                    committed.add(row[0])

    naive: set[int] = set()

    def read_naively() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            last = 0
            finished = False
            while not finished:
                finished = done.is_set()
                for (found,) in connection.execute("select id from outbox where id > %s order by id", [last]):
                    naive.add(found)
                    last = found

    accepted = duplicates = 0
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(WRITERS)]
    reader = threading.Thread(target=read_naively)
    for thread in (*writers, reader):
        thread.start()
    while any(thread.is_alive() for thread in writers):
        result = ingest_outbox(database, outbox)
        accepted, duplicates = accepted + result.accepted, duplicates + result.duplicates
    done.set()
    reader.join()
    result = ingest_outbox(database, outbox)
    accepted, duplicates = accepted + result.accepted, duplicates + result.duplicates
    print(f"outbox: {len(committed)} committed, ours {accepted}, naive {len(naive)}")  # noqa: T201 - `make prove`
    assert {int(event.event_id) for event in store.read()} == committed
    assert (accepted, duplicates) == (len(committed), 0)
    assert naive < committed, "the race has no teeth: a naive reader lost nothing"


def test_a_kill_between_events_and_checkpoint_changes_nothing(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was appended before the checkpoint moved is read again and counted as duplicates."""
    url, outbox_table = source
    put(url, "1", "2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_write_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest_outbox(database, outbox_table)
    assert read_checkpoint(database, outbox_table) is None
    assert counts(ingest_outbox(database, outbox_table)) == (0, 2, 0)
    assert len(list(store.read())) == 2


def test_a_backlog_is_taken_in_pieces(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint within one transaction's rows is that of the last row: no row is passed over between pieces."""
    url, outbox_table = source
    put(url, *(f"{number}" for number in range(7)))
    monkeypatch.setattr(outbox, "ROWS", 3)
    appended: list[object] = []

    def append_twice_then_stop(*arguments: object) -> BatchResult:
        if len(appended) == 2:
            raise KeyboardInterrupt
        appended.append(arguments)
        return once.append_counted(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "append_counted", append_twice_then_stop)
        with pytest.raises(KeyboardInterrupt):
            ingest_outbox(database, outbox_table)
    assert counts(ingest_outbox(database, outbox_table)) == (1, 0, 0)
    assert len(list(store.read())) == 7


def test_a_table_restored_elsewhere_is_read_from_its_beginning(
    source: tuple[str, Outbox], database: ConnectionPool
) -> None:
    """Transaction ids of another incarnation say nothing: all rows are read again, known ones as duplicates."""
    url, outbox = source
    put(url, "1")
    ingest_outbox(database, outbox)
    with psycopg.connect(url) as connection:
        connection.execute("create table moved (like outbox including all)")
        connection.execute("insert into moved select * from outbox")
        connection.execute("insert into moved (order_id, amount) values ('2', 2)")
        connection.execute("alter table outbox rename to old; alter table moved rename to outbox")
        connection.execute("grant select on outbox to public")
    assert counts(ingest_outbox(database, outbox)) == (1, 1, 0)


def test_a_standby_that_lagged_and_was_promoted_is_read_from_its_beginning(
    database: ConnectionPool,
    store: EventStore,
    replicable: Callable[[Path], Settings],
    standby: Callable[[Path, int], AbstractContextManager[None]],
) -> None:
    """It gives out again the transaction ids that it had not seen: none of its rows is taken for one read before."""
    with tempfile.TemporaryDirectory(prefix="pipelines-outbox-") as folder:
        Path(folder).chmod(0o711)
        home, lagging = Path(folder) / "primary", Path(folder) / "lagging"
        try:
            url = connections.admin_url(replicable(home))
            with psycopg.connect(url) as connection:
                connection.execute(
                    "create table outbox (id bigserial primary key, order_id text, amount numeric, "
                    "happened_at timestamptz not null default now())"
                )
            put(url, "before")
            platform.down(Settings(home=home))
            subprocess.run(["cp", "-a", (home / "postgres").resolve(), lagging], check=True)
            platform.up(Settings(home=home))
            outbox = Outbox(url, "outbox", "shop", [MAPPING])
            put(url, "lost")
            assert counts(ingest_outbox(database, outbox)) == (2, 0, 0)
        finally:
            platform.down(Settings(home=home))
        port = urlsplit(url).port
        assert port is not None
        with standby(lagging, port):
            with psycopg.connect(url, autocommit=True) as connection:
                assert connection.execute("select pg_promote()").fetchone() == (True,)
                connection.execute("insert into outbox (id, order_id, amount) values (0, 'after', 1)")
            assert counts(ingest_outbox(database, outbox)) == (1, 1, 0)
        assert [event.data["order_id"] for event in store.read()] == ["before", "lost", "after"]


def test_json_of_any_length_keeps_every_digit(
    source: tuple[str, Outbox], database: ConnectionPool, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of json and jsonb are read as they are written, and long rows some at a time."""
    url, plain = source
    with psycopg.connect(url) as connection:
        connection.execute("alter table outbox add one json, add two jsonb, add three json")
        for number in range(6):
            connection.execute(
                "insert into outbox (order_id, amount, one, two, three) values (%s, 1, %s, %s, %s)",
                [
                    f"{number}",
                    '{"a": 0.1000000000000000000001, "b": 123456789012345678901}',
                    json.dumps({"long": "x" * 1_000, "price": 12.5}),
                    '{"a": 1, "a": 2}' if number == 3 else "null",
                ],
            )
    fields = {name: {"column": name, "type": "json"} for name in ("one", "two", "three")}
    declared = MAPPING.model_dump(exclude_defaults=True)
    mapping = Mapping.model_validate({**declared, "data": {**declared["data"], **fields}})
    monkeypatch.setattr(batch, "CHUNK_CHARACTERS", 2_000)
    sizes: list[int] = []

    def counted(*arguments: Any) -> BatchResult:
        result = once.append_counted(*arguments)
        sizes.append(result.sent)
        return result

    monkeypatch.setattr(outbox, "append_counted", counted)
    assert counts(ingest_outbox(database, replace(plain, mappings=[mapping]))) == (5, 0, 1)
    assert sizes == [2, 2, 2]
    found = next(iter(store.read())).data
    assert found["one"] == {"a": Decimal("0.1000000000000000000001"), "b": 123456789012345678901}
    assert (found["two"]["price"], found["three"]) == (Decimal("12.5"), None)
    with database.connection() as connection:
        row = connection.execute("select reason from event_log.quarantine").fetchone()
    assert row == ("data.three: a: given twice in one object",)


def test_a_row_that_does_not_fit_the_mapping_is_quarantined(
    source: tuple[str, Outbox], database: ConnectionPool
) -> None:
    """The bad row is kept with its place and reason, and the rows around it are taken."""
    url, outbox = source
    put(url, "1")
    with psycopg.connect(url) as connection:
        connection.execute("insert into outbox (order_id) values ('2')")
    put(url, "3")
    assert counts(ingest_outbox(database, outbox)) == (2, 0, 1)
    with database.connection() as connection:
        row = connection.execute("select origin, reason from event_log.quarantine").fetchone()
    assert row == (f"{outbox.name}: id 2", "data.amount: column amount is empty")


def test_a_source_that_cannot_be_read_is_one_line_without_the_password(
    source: tuple[str, Outbox], database: ConnectionPool
) -> None:
    """The error says which table, why, and what to do."""
    _, outbox = source
    with pytest.raises(PipelinesError, match=r'nowhere cannot be read: relation "nowhere" does not exist') as refused:
        ingest_outbox(database, replace(outbox, table="nowhere"))
    assert "reading" not in str(refused.value)


def test_the_asset_exists_where_an_outbox_is_configured(tmp_path: Path) -> None:
    """Loading the definitions asks nothing of the source, which may be down; a missing setting is named."""
    code = (
        "from analytics_pipelines.definitions import defs;"
        "print(sorted(s.key.path[1] for s in defs.resolve_all_asset_specs() if s.key.path[0] == 'sources'),"
        "[s.name for s in defs.get_repository_def().sensor_defs if s.name == 'outbox_table'])"
    )
    environment = {**os.environ, "PIPELINES_DEMO": "false", "PIPELINES_OUTBOX_URL": "postgresql://a:b@127.0.0.1:1/x"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "['landing', 'outbox'] ['outbox_table']"
    with pytest.raises(PipelinesError, match="PIPELINES_OUTBOX_MAPPING is not set"):
        configured(Settings(home=tmp_path, outbox_url="postgresql://a:b@127.0.0.1:1/x"))  # type: ignore[arg-type]
