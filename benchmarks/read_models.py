"""What read models cost: replaying, advancing and asking about the past, each against the barest SQL, in the same run.

The log is made by SQL, e-mails of leads and orders, as a simulator would take longer than the measurements: a million
events, ten million with `BENCH_FULL=1`. Work that is compared runs on one core where its CPU time is what counts.
"""

from __future__ import annotations

import os
import random
import resource
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from analytics_pipelines import connections, migrations
from analytics_pipelines.event_log import EventStore
from analytics_pipelines.local import platform
from analytics_pipelines.read_models import projector, sql
from analytics_pipelines.read_models.as_of import as_of, of_stream
from analytics_pipelines.read_models.models import READ_MODELS
from analytics_pipelines.settings import Settings
from benchmarks.measure import Figure, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection
    from psycopg_pool import ConnectionPool

EVENTS = 10_000_000 if os.environ.get("BENCH_FULL") else 1_000_000
STEP = 100_000
LEADS = 10_000  # numbers of a hundred thousand events; seven of ten are leads, with ten events each
FEW_EVENTS = 100_000
NEW_EVENTS = 10_000
ROUNDS = 3
QUESTIONS = 1000
MERGED, REFOLDED = READ_MODELS["lead_analytics"], READ_MODELS["order_state"]

# Of ten events seven are a lead's and three an order's. A lead has ten, about as in the simulator, which come in
# turns with those of 7,000 others; an order has three; a tenth of all are of one campaign. A history ends in the middle
# of its last leads, so that what comes next changes rows, be it short or long. Time goes on with the log, but one event
# of a hundred is up to ninety days late.
_FILL = """
    insert into event_log.events (tenant_id, stream_version, source, event_id, stream_id, event_type, schema_version,
        sequence, occurred_at, data)
    select 'bench', version, 'bench', n::text, kind || '-' || key, event_type, 1, 0,
        timestamptz '2017-01-01T00:00:00Z' + n * interval '3 seconds'
            - case n %% 100 when 42 then n %% 90 else 0 end * interval '1 day', data
    from (
        select n, 'lead' as kind, key, turn - case when n < 50000 then 5 else 0 end as version,
            (array['lead_created', 'email_sent', 'email_opened', 'email_sent', 'email_opened', 'email_clicked',
                'email_sent', 'email_opened', 'email_sent', 'email_replied'])[turn] as event_type,
            case when turn = 1 then jsonb_build_object('lead_id', key::text, 'company_id',
                (n %% 997)::text, 'company', 'Company', 'industry', 'Software', 'company_size', n %% 500 + 1,
                'lead_source', 'web', 'email_domain', 'example.com')
            else jsonb_build_object('lead_id', key::text, 'message_id', 'message-' || n,
                'campaign_id', (case when n %% 7 = 0 then 0 else n / 50000 end)::text) end as data
        from generate_series(%(from)s, %(to)s) as n
        cross join lateral (
            select
                (n + 50000) / 100000 * %(leads)s + n %% %(leads)s as key,
                (n + 50000) %% 100000 / %(leads)s + 1 as turn
        ) as lead
        where n %% 10 < 7
        union all
        select n, 'order', n / 10, n %% 10 - 6,
            (array['order_placed', 'order_paid', 'order_shipped'])[n %% 10 - 6],
            case n %% 10 when 7 then jsonb_build_object('order_id', (n / 10)::text, 'customer_id', (n %% 9973)::text,
                'channel', 'online', 'currency', 'EUR', 'lines', jsonb_build_array(
                    jsonb_build_object('product_id', (n %% 1009)::text, 'quantity', 1, 'revenue', 9.90),
                    jsonb_build_object('product_id', (n %% 1013)::text, 'quantity', 2, 'revenue', 19.80)))
            when 8 then jsonb_build_object('order_id', (n / 10)::text, 'amount', 29.70)
            else jsonb_build_object('order_id', (n / 10)::text) end
        from generate_series(%(from)s, %(to)s) as n where n %% 10 >= 7
    ) as made
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
                few = _increments(pool, FEW_EVENTS)
                many = _increments(pool, EVENTS)
                with psycopg.connect(connections.admin_url(settings), autocommit=True) as admin:
                    admin.execute("vacuum analyze event_log.events")
                yield from _replays(pool)
                yield _one_pass(pool)
                yield from _increment_figures(few, many)
                yield from _as_of(pool)
                yield _memory()
        finally:
            platform.down(settings)


def _fill(pool: ConnectionPool, start: int, end: int) -> None:
    for first in range(start, end, STEP):
        with pool.connection() as connection:
            connection.execute("select event_log.make_partitions()")
            connection.commit()
            last = min(first + STEP, end) - 1
            connection.execute(_FILL, {"from": first, "to": last, "leads": LEADS})


def _replays(pool: ConnectionPool) -> Iterator[Figure]:
    for model, rate, ratio in ((MERGED, 1_000_000, 3), (REFOLDED, 300_000, None)):
        types = ", ".join(f"'{event}'" for event in model.events)
        key = f"data ->> '{next(iter(model.key))}'"
        bare = f"select {key}, count(*) from event_log.events where event_type in ({types}) group by 1"
        fold = sql.fold_at_once(model)
        with pool.connection() as connection:
            count = _number(connection, f"select count(*) from event_log.events where event_type in ({types})")
            ours, baseline = _alternating(
                lambda c=connection, f=fold: _from_zero(c, f),
                lambda c=connection, b=bare: c.execute(f"create temporary table folded on commit drop as {b}"),
                connection,
            )
        kept = count / ours >= rate and (ratio is None or ours / baseline <= ratio)
        limit = f">= {rate:,}" + (f" and <= {ratio}x" if ratio else "")
        what = f"replay of {model.name}, {count:,} events"
        value = f"{count / ours:,.0f} events/s"
        yield Figure(what, value, f"bare count by key {count / baseline:,.0f}", ours / baseline, limit, kept)


def _from_zero(connection: Connection, fold: str) -> None:
    query = f"create temporary table folded on commit drop as {fold}"
    with projector.expecting_everything(connection):
        connection.execute(query, _all())  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text


def _one_pass(pool: ConnectionPool) -> Figure:
    """Compare the CPU of one pass for all models with the sum of each model alone, over 100,000 new events."""
    models = list(READ_MODELS.values())
    start = _events(pool)
    _fill(pool, start, start + STEP)
    up_to = EventStore(pool).settled_position()
    with pool.connection() as connection:
        connection.execute("set max_parallel_workers_per_gather = 0")

        def alone() -> None:
            for model in models:
                projector.advance(connection, [model], up_to)

        def together() -> None:
            projector.advance(connection, models, up_to)

        used: dict[str, list[float]] = {"alone": [], "together": []}
        for _ in range(ROUNDS):
            for name, work in (("alone", alone), ("together", together)):
                used[name].append(_cpu(connection, work))
                connection.rollback()
                connection.execute("set max_parallel_workers_per_gather = 0")
    ours, baseline = (statistics.median(used[name]) for name in ("together", "alone"))
    what = f"all {len(models)} read models in one pass, CPU"
    return Figure(
        what, f"{ours:.2f} s", f"each alone {baseline:.2f} s", ours / baseline, "<= 0.7x", ours <= 0.7 * baseline
    )


def _increments(pool: ConnectionPool, events: int) -> dict[str, tuple[float, float]]:
    """Fill the log up to so many events; measure by model what 10,000 more take, and what folding them alone takes."""
    _fill(pool, _events(pool), events)
    with pool.connection() as connection:
        projector.advance(connection, READ_MODELS.values(), EventStore(pool).settled_position())
        connection.commit()
        connection.execute("analyze event_log.events")
    measured: dict[str, tuple[float, float]] = {}
    for model in (MERGED, REFOLDED):
        times: list[float] = []
        bare: list[float] = []
        for _ in range(ROUNDS):
            start = _events(pool)
            _fill(pool, start, start + NEW_EVENTS)
            up_to = EventStore(pool).settled_position()
            with pool.connection() as connection:
                arguments = {"after": up_to - NEW_EVENTS, "up_to": up_to}
                query = f"create temporary table folded on commit drop as {sql.fold(model)}"
                bare.append(seconds(lambda c=connection, q=query, a=arguments: c.execute(q, a)))
                connection.rollback()
                times.append(seconds(lambda c=connection, m=model, u=up_to: projector.advance(c, [m], u)))
        measured[model.name] = (statistics.median(times), statistics.median(bare))
    return measured


def _increment_figures(
    small: dict[str, tuple[float, float]], large: dict[str, tuple[float, float]]
) -> Iterator[Figure]:
    for model, limit in ((MERGED, 0.5), (REFOLDED, 3.0)):
        (before, _), (ours, baseline) = small[model.name], large[model.name]
        kind = "merged" if model.is_mergeable else "re-folded"
        what = f"{NEW_EVENTS:,} new events on {EVENTS:,}: {model.name}, {kind}"
        name = f"folding them alone {baseline:.2f} s"
        yield Figure(what, f"{ours:.2f} s", name, ours / baseline, f"<= {limit} s", ours <= limit)
        what = f"the same, against a history of {FEW_EVENTS:,}"
        yield Figure(what, f"{ours:.2f} s", f"{before:.2f} s", ours / before, "<= 1.5x", ours <= 1.5 * before)


def _as_of(pool: ConnectionPool) -> Iterator[Figure]:
    """Ask what rows were at random moments: a lead, whose events are one stream, and the campaign of a tenth of all.

    The lead's time is what the server says of planning and running the statement; a session plans it a few times only.
    """
    chance = random.Random(1)
    campaign = READ_MODELS["campaign_performance"]
    explain = "explain (analyze, timing off, format json) "
    with pool.connection() as connection:
        connection.execute("set transaction isolation level repeatable read")
        bare: list[float] = []
        lead: list[float] = []
        trips: list[float] = []
        for _ in range(QUESTIONS):
            block = chance.randrange(1, EVENTS // 100_000)
            key, at = str(block * LEADS + chance.randrange(LEADS) // 10 * 10), _moment(chance, block)
            query = f"select count(*) from {sql.LOG} where tenant_id = 'bench' and stream_id = %s and occurred_at <= %s"
            bare.append(_in_database(connection, explain + query, [f"lead-{key}", at]))
            arguments = {"tenant_id": "bench", "at": at, "reader": sql.table(MERGED), "key_0": key}
            lead.append(_in_database(connection, explain + of_stream(MERGED, "event-time"), arguments))
            trips.append(seconds(lambda k=key, a=at: as_of(connection, MERGED, "bench", [k], a)))
        moments = [_moment(chance) for _ in range(QUESTIONS // 50)]
        asked = [seconds(lambda a=at: as_of(connection, campaign, "bench", ["0"], a)) for at in moments]
        query = (
            "select count(*) from event_log.events where tenant_id = 'bench' and event_type like 'email%%' "
            "and data ->> 'campaign_id' = '0' and occurred_at <= %s"
        )
        counted = seconds(lambda: connection.execute(query, [moments[0]]).fetchone())
    trip = f"a lead as of a moment, p95 in the database (and back in Python {_p95(trips) * 1000:.2f} ms)"
    yield _question(trip, lead, "bare count of its stream", _p95(bare), 0.001)
    events = EVENTS // 10
    yield _question(f"a campaign of {events:,} events as of, p95", asked, "bare count of it", counted, 0.2)


def _in_database(connection: Connection, explained: str, arguments: Any) -> float:  # noqa: ANN401 - as psycopg takes them
    """Return the seconds that the server says it took to plan and to run a statement."""
    row = connection.execute(explained, arguments).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert row is not None
    (plan,) = row[0]
    return (plan["Planning Time"] + plan["Execution Time"]) / 1000


def _question(what: str, times: list[float], name: str, baseline: float, limit: float) -> Figure:
    ours = _p95(times)
    value, other = f"{ours * 1000:.2f} ms", f"{name} {baseline * 1000:.2f} ms"
    return Figure(what, value, other, ours / baseline, f"<= {limit * 1000:.0f} ms", ours <= limit)


def _p95(times: list[float]) -> float:
    return sorted(times)[len(times) * 95 // 100]


def _moment(chance: random.Random, block: int | None = None) -> datetime:
    """Return a moment of the log; of a block, one at which its leads have events, and others yet to come."""
    first, end = (0, EVENTS) if block is None else (block * 100_000 - 40_000, block * 100_000 + 50_000)
    return datetime(2017, 1, 1, tzinfo=UTC) + timedelta(seconds=3 * chance.randrange(first, end))


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


def _events(pool: ConnectionPool) -> int:
    with pool.connection() as connection:
        return _number(connection, "select coalesce(max(event_id::bigint) + 1, 0) from event_log.events")


def _number(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()  # pyright: ignore[reportArgumentType, reportCallIssue] - our own text
    assert row is not None
    return row[0]


def _all() -> dict[str, Any]:
    return {"after": 0, "up_to": 2**62}
