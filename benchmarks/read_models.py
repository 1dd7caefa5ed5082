"""What read models cost: replaying, advancing and asking about the past, each against the barest SQL, in the same run.

The log is the simulator's: a million events, ten million with `BENCH_FULL=1`. None of its campaigns is large, so one
with a tenth as many events is added for the questions about it. Work that is compared runs on one core where its CPU
time is what counts.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from pydantic import SecretStr

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.ingestion import simulator
from analytics_pipelines.local import platform
from analytics_pipelines.read_models import projector, sql, versions
from analytics_pipelines.read_models.as_of import as_of, of_streams
from analytics_pipelines.read_models.comparison import differences
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import Settings
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.read_models.declaration import ReadModel

EVENTS = 10_000_000 if os.environ.get("BENCH_FULL") else 1_000_000
STEP = 100_000
FEW_EVENTS = 100_000
NEW_EVENTS = 10_000
ROUNDS = 3
QUESTIONS = 1000
TENANT = "saas"
MERGED, REFOLDED = READ_MODELS["lead_analytics"], READ_MODELS["order_state"]

# E-mails of one campaign, over a year: to a lead one after the other, and every tenth answered.
_CAMPAIGN = """
    insert into event_log.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version,
        sequence, occurred_at, data)
    select 'bench', n %% 10 + 1, 'bench', n::text, 'lead-' || n / 10,
        case n %% 10 when 9 then 'email_replied' else (array['email_sent', 'email_opened'])[n %% 2 + 1] end, 1, 0,
        timestamptz '2017-01-01T00:00:00Z' + n * interval '1 year' / %(events)s,
        jsonb_build_object('lead_id', (n / 10)::text, 'message_id', 'message-' || n, 'campaign_id', '0')
    from generate_series(%(from)s, %(to)s) as n
    order by n
"""


def figures() -> Iterator[Figure]:
    """Yield the figures of the read models, on a platform of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pipelines-bench-") as folder:
        Path(folder).chmod(0o711)
        settings = platform.up(Settings(home=Path(folder), pool_size=4))
        try:
            migrations.migrate(settings)
            with connections.open_pool(settings) as pool:
                newest = _simulate(settings, pool)
                yield from _replays(pool, newest)
                _build(pool, READ_MODELS.values(), newest - STEP)
                yield _one_pass(settings, pool, newest)
                history = newest - STEP
                many = _increments(pool, history)
                with _log_of_few(settings, history - FEW_EVENTS) as short:
                    _build(short, (MERGED, REFOLDED), FEW_EVENTS)
                    few = _increments(short, FEW_EVENTS)
                yield from _increment_figures(few, many, history)
                yield from _lead_as_of(pool)
                yield _campaign_as_of(pool)
                yield _memory()
        finally:
            platform.down(settings)


def _simulate(settings: Settings, pool: ConnectionPool) -> int:
    """Append the events, by a process of its own; return the newest position."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(_append_simulated, settings).result()
    with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
        admin.execute("vacuum analyze event_log.events")
    return EventStore(pool).settled_position()


def _append_simulated(settings: Settings) -> None:
    with connections.open_pool(settings) as pool:
        EventStore(pool).append_batch(TENANT, simulator.simulate(EVENTS, 1))


@contextmanager
def _log_of_few(settings: Settings, after: int) -> Generator[ConnectionPool]:
    """Make a database whose log begins after this position: the same events have a short history there."""
    urls = {
        name: SecretStr(urlunsplit(urlsplit(getattr(settings, name).get_secret_value())._replace(path="/few")))
        for name in ("database_url", "admin_database_url")
    }
    few = settings.model_copy(update=urls)
    columns = (
        "tenant_id, source, event_id, stream_id, stream_version, event_type, schema_version, sequence, occurred_at"
    )
    columns += ", recorded_at, correlation_id, causation_id, data"
    query = f"select position - {after}, {columns} from event_log.events where position > {after}"
    with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
        admin.execute("create database few")
        migrations.migrate(few)
        with (
            psycopg.connect(connections.admin_url(few), autocommit=True) as short,
            admin.cursor().copy(f"copy ({query}) to stdout".encode()) as rows,
            short.cursor().copy(f"copy event_log.events (position, {columns}) from stdin".encode()) as into,
        ):
            for row in rows:
                into.write(row)
        with psycopg.connect(connections.admin_url(few), autocommit=True) as short:
            short.execute("vacuum analyze event_log.events")
        with connections.open_pool(few) as pool:
            yield pool
        admin.execute("drop database few with (force)")


def _build(pool: ConnectionPool, models: Iterable[ReadModel], up_to: int) -> None:
    for model in models:
        with pool.connection() as connection:
            projector.build(connection, versions.declared(model), up_to)


def _replays(pool: ConnectionPool, newest: int) -> Iterator[Figure]:
    """Replay a model from zero. Events/s are those of the log that goes by; those that the model folds are told too."""
    for model, rate, ratio in ((MERGED, 1_000_000, 3), (REFOLDED, 300_000, None)):
        types = ", ".join(f"'{event}'" for event in model.events)
        key = f"data ->> '{next(iter(model.key))}'"
        bare = f"select {key}, count(*) from event_log.events where event_type in ({types}) group by 1"
        fold = sql.fold_at_once(model)
        with pool.connection() as connection:
            own = _number(connection, f"select count(*) from event_log.events where event_type in ({types})")
            ours, baseline = _alternating(
                lambda c=connection, f=fold: _from_zero(c, f),
                lambda c=connection, b=bare: c.execute(f"create temporary table folded on commit drop as {b}"),
                connection,
            )
        kept = newest / ours >= rate and (ratio is None or ours / baseline <= ratio)
        limit = f">= {rate:,}" + (f" and <= {ratio}x" if ratio else "")
        what = f"replay of {model.name}, a log of {newest:,} events"
        value = f"{newest / ours:,.0f} events/s ({own / ours:,.0f} of its own {own:,})"
        yield Figure(what, value, f"bare count by key {newest / baseline:,.0f}", ours / baseline, limit, kept)


def _from_zero(connection: Connection, fold: str) -> None:
    query = f"create temporary table folded on commit drop as {fold}"
    with projector.expecting_everything(connection):
        connection.execute(query, _all())  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text


def _one_pass(settings: Settings, pool: ConnectionPool, newest: int) -> Figure:
    """Compare the CPU of one pass for all models with the sum of each model alone, over the newest 100,000 events.

    What each alone reads, keys and payloads taken out, is told beside it: no pass can save more.
    """
    models = list(READ_MODELS.values())
    with pool.connection() as connection:
        projector.advance(connection, models, newest - STEP)  # publishes them, which is none of a pass
    with pool.connection() as connection, psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:

        def alone() -> None:
            for model in models:
                projector.advance(connection, [model], newest)

        def read() -> None:
            for model in models:
                counts = ", ".join(f"count({name})" for name in (*model.key, "occurred_at", "data"))
                query = f"select {counts} from ({sql.events(model, sql.NEW)}) as events"
                connection.execute(query, {"after": newest - STEP, "up_to": newest})  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text

        def together() -> None:
            projector.advance(connection, models, newest)

        used: dict[Callable[[], None], list[float]] = {alone: [], read: [], together: []}
        for _ in range(ROUNDS):
            for work, times in used.items():
                admin.execute("vacuum")  # rows that were undone would cost the next one
                connection.execute("set max_parallel_workers_per_gather = 0")
                times.append(_cpu(connection, work))
                connection.rollback()
    baseline, reading, ours = (statistics.median(times) for times in used.values())
    what = f"all {len(models)} read models in one pass, CPU"
    other = f"each alone {baseline:.2f} s, {reading:.2f} of it to read"
    return Figure(what, f"{ours:.2f} s", other, ours / baseline, "<= 0.7x", ours <= 0.7 * baseline)


def _increments(pool: ConnectionPool, history: int) -> dict[str, tuple[float, float, float]]:
    """Measure by model what 10,000 events after this position take: all of it, folding them alone, and the check."""
    measured: dict[str, tuple[float, float, float]] = {}
    for model in (MERGED, REFOLDED):
        times: list[float] = []
        bare: list[float] = []
        checked: list[float] = []
        for after in range(history, history + ROUNDS * NEW_EVENTS, NEW_EVENTS):
            arguments = {"after": after, "up_to": after + NEW_EVENTS}
            query = f"create temporary table folded on commit drop as {sql.fold(model)}"
            with pool.connection() as connection:
                bare.append(seconds(lambda c=connection, q=query, a=arguments: c.execute(q, a)))
                connection.rollback()
                up_to = after + NEW_EVENTS
                times.append(seconds(lambda c=connection, m=model, u=up_to: projector.advance(c, [m], u)))
            with pool.connection() as connection:
                checked.append(seconds(lambda c=connection, m=model, a=after: differences(c, m, after=a)))
        measured[model.name] = (statistics.median(times), statistics.median(bare), statistics.median(checked))
    return measured


def _increment_figures(
    small: dict[str, tuple[float, float, float]], large: dict[str, tuple[float, float, float]], history: int
) -> Iterator[Figure]:
    for model, limit in ((MERGED, 0.5), (REFOLDED, 3.0)):
        (before, _, short), (ours, baseline, checked) = small[model.name], large[model.name]
        kind = "merged" if model.is_mergeable else "re-folded"
        what = f"{NEW_EVENTS:,} new events on {history:,}: {model.name}, {kind}"
        name = f"folding them alone {baseline:.2f} s"
        yield Figure(what, f"{ours:.2f} s", name, ours / baseline, f"<= {limit} s", ours <= limit)
        what = f"the same, against a history of {FEW_EVENTS:,}"
        yield Figure(what, f"{ours:.2f} s", f"{before:.2f} s", ours / before, "<= 1.5x", ours <= 1.5 * before)
        what = "a replay of what they touch, against that on this history"
        yield Figure(what, f"{checked:.2f} s", f"{short:.2f} s", checked / short)


def _lead_as_of(pool: ConnectionPool) -> Iterator[Figure]:
    """Ask what leads were at moments between their first and their newest event: where these are one stream, and not.

    Of the former, what the server says of planning and running the statement, as in a session that asks on: the driver
    prepares what it has sent five times, and Postgres keeps the plan of what it then has run five times. What a
    question costs that is planned anew is told beside it.
    """
    chance = random.Random(1)
    count = f"select count(*) from {sql.LOG} where tenant_id = %(tenant_id)s and stream_id = %(stream)s"
    bare: list[float] = []
    asked: list[float] = []
    first: list[float] = []
    trips: list[float] = []
    with pool.connection() as connection:
        connection.execute("set transaction isolation level repeatable read")
        for key, at in _leads(connection, "= 1", QUESTIONS, chance):
            # First as a user asks; what it has read is in memory for the others.
            trips.append(seconds(lambda k=key, a=at: as_of(connection, MERGED, TENANT, [k], a)))
            arguments = {"tenant_id": TENANT, "at": at, "reader": sql.table(MERGED), "key_0": key}
            first.append(_in_database(connection, of_streams(MERGED, "event-time"), arguments))
            asked.append(_again_in_database(connection, "asked", of_streams(MERGED, "event-time"), arguments))
            arguments = {"tenant_id": TENANT, "stream": f"lead-{key}", "at": at}
            bare.append(_again_in_database(connection, "counted", f"{count} and occurred_at <= %(at)s", arguments))
        scattered = [
            seconds(lambda k=key, a=at: as_of(connection, MERGED, TENANT, [k], a))
            for key, at in _leads(connection, "> 1", QUESTIONS // 50, chance)
        ]
    others = f"planned anew {_p95(first) * 1000:.2f} ms, with the way to Python and back {_p95(trips) * 1000:.2f} ms"
    yield _question(
        f"a lead as of a moment, p95 in the database ({others})", asked, "bare count of its stream", _p95(bare), 0.001
    )
    yield Figure("a lead whose events lie in several streams, p95", f"{_p95(scattered) * 1000:.2f} ms", "")


def _leads(connection: Connection, streams: str, number: int, chance: random.Random) -> Iterator[tuple[str, datetime]]:
    """Yield leads whose events lie in so many streams, each with a moment of its time."""
    found = connection.execute(
        f"select lead_id, _created_at, _last_event_at - _created_at from {sql.table(MERGED)} "  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text
        f"where tenant_id = '{TENANT}' and _created_at is not null and cardinality(_streams) {streams} "
        f"order by hashtext(lead_id) limit {number}"
    ).fetchall()
    for key, created_at, age in found:
        yield key, created_at + age * chance.random()


def _campaign_as_of(pool: ConnectionPool) -> Figure:
    """Ask what a campaign of a tenth as many events as the log was at random moments of its year."""
    chance = random.Random(1)
    model, events = READ_MODELS["campaign_performance"], EVENTS // 10
    for first in range(0, events, STEP):
        with pool.connection() as connection:
            connection.execute("select event_log.make_partitions()")
            connection.commit()
            connection.execute(_CAMPAIGN, {"from": first, "to": first + STEP - 1, "events": events})
    _build(pool, [model], EventStore(pool).settled_position())
    first_at = datetime(2017, 1, 1, tzinfo=UTC)
    with pool.connection() as connection:
        connection.execute("set transaction isolation level repeatable read")
        moments = [first_at + timedelta(days=365) * chance.random() for _ in range(QUESTIONS // 50)]
        asked = [seconds(lambda a=at: as_of(connection, model, "bench", ["0"], a)) for at in moments]
        query = (
            "select count(*) from event_log.events where tenant_id = 'bench' and event_type like 'email%%' "
            "and data ->> 'campaign_id' = '0' and occurred_at <= %s"
        )
        counted = seconds(lambda: connection.execute(query, [moments[0]]).fetchone())
    return _question(f"a campaign of {events:,} events as of, p95", asked, "bare count of it", counted, 0.2)


def _in_database(connection: Connection, query: str, arguments: Mapping[str, Any]) -> float:
    """Return the seconds that the server says it took to plan and to run a statement."""
    explained = f"explain (analyze, timing off, format json) {query}"
    row = psycopg.ClientCursor(connection).execute(explained, arguments).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert row is not None
    (plan,) = row[0]
    return (plan["Planning Time"] + plan["Execution Time"]) / 1000


def _again_in_database(connection: Connection, name: str, query: str, arguments: Mapping[str, Any]) -> float:
    """Return the same of a statement that the session has prepared under a name, and does so with the first call."""
    if not _number(connection, f"select count(*) from pg_prepared_statements where name = '{name}'"):
        connection.execute(f"prepare {name} as {query % _places(arguments)}")  # pyright: ignore[reportArgumentType, reportCallIssue]
    return _in_database(connection, f"execute {name} ({', '.join(f'%({key})s' for key in arguments)})", arguments)


def _places(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"${place}" for place, name in enumerate(arguments, 1)}


def _question(what: str, times: list[float], name: str, baseline: float, limit: float) -> Figure:
    ours = _p95(times)
    value, other = f"{ours * 1000:.2f} ms", f"{name} {baseline * 1000:.2f} ms"
    return Figure(what, value, other, ours / baseline, f"<= {limit * 1000:.0f} ms", ours <= limit)


def _p95(times: list[float]) -> float:
    return sorted(times)[len(times) * 95 // 100]


def _memory() -> Figure:
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Figure("memory of our process", f"{megabytes:.0f} MB", "", None, "<= 300 MB", megabytes <= 300)


def _alternating(
    ours: Callable[[], object], baseline: Callable[[], object], connection: Connection
) -> tuple[float, float]:
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        theirs = seconds(baseline)
        connection.rollback()
        mine = seconds(ours)
        connection.rollback()
        times.append((mine, theirs))
    return statistics.median(mine for mine, _ in times), statistics.median(theirs for _, theirs in times)


def _cpu(connection: Connection, work: Callable[[], object]) -> float:
    """Return the CPU seconds that the session's server process spends on something."""
    stat = Path(f"/proc/{connection.info.backend_pid}/stat")

    def used() -> float:
        fields = stat.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    work()
    return used() - before


def _number(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text
    assert row is not None
    return row[0]


def _all() -> dict[str, Any]:
    return {"after": 0, "up_to": 2**62}
