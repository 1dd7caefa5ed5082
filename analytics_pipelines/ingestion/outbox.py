"""The outbox of another Postgres: a table into which an application writes events in its own transactions.

Defines `ingest_outbox`: what is new in the table goes through a mapping into the log. Why rows are taken in the order
of their transactions, and only when all earlier ones have ended, is told in docs/decisions/0008-outbox-source.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from analytics_pipelines.connections import CONNECT_SECONDS, address
from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.event_log import BatchResult
from analytics_pipelines.event_log.batch import cut, weight
from analytics_pipelines.event_log.validation import require_tenant
from analytics_pipelines.ingestion.formats import Row
from analytics_pipelines.ingestion.mapping import load_mappings, map_rows
from analytics_pipelines.ingestion.once import append_counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg_pool import ConnectionPool

    from analytics_pipelines.ingestion.mapping import Mapping
    from analytics_pipelines.settings import Settings

ROWS = 5_000
"""After so many rows, or fewer where they are long, the checkpoint moves."""
FETCHED_ROWS = 100
"""Rows fetched at a time: so many more than a chunk may hold are in memory."""

# A standby that is promoted keeps the system's identifier and begins a new timeline, where transaction ids that it had
# not seen come again. Until its first checkpoint the new timeline stands only where a recovery would have to end.
_INCARNATION = """
    select concat_ws('/', (select system_identifier from pg_control_system()),
        (select oid from pg_database where datname = current_database()), %s::regclass::oid,
        greatest(
            (select timeline_id from pg_control_checkpoint()),
            (select min_recovery_end_timeline from pg_control_recovery())))
"""

# xmin has 32 bits, a snapshot's bounds have 64: the newest transaction id with these 32 that this snapshot can know.
_SYSTEM_TRANSACTION = """(
    (select pg_snapshot_xmax(pg_current_snapshot())::text::bigint)
    - (((select pg_snapshot_xmax(pg_current_snapshot())::text::bigint) - outbox.xmin::text::bigint) & 4294967295)
)"""

_NEW_ROWS = """
    select outbox.*, {transaction}::text::bigint as pipelines_transaction, outbox.{id}::text as pipelines_id
    from {table} as outbox
    where {transaction} < (select pg_snapshot_xmin(pg_current_snapshot())::text::{kind})
        and (%(row_id)s::text is null or ({transaction}, outbox.{id}) > (%(transaction_id)s::text::{kind}, {row_id}))
    order by {transaction}, outbox.{id}
    limit %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Which table is read and what its rows mean."""

    url: str
    table: str
    tenant_id: str
    mappings: list[Mapping]
    id_column: str = "id"
    transaction_column: str | None = None

    @property
    def name(self) -> str:
        """The table and its server, without the login."""
        return f"{address(self.url)}/{self.table}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Up to which row a table was read; `incarnation` tells the table from one restored elsewhere."""

    incarnation: str
    transaction_id: int = 0
    row_id: str | None = None


def configured(settings: Settings) -> Outbox:
    """Return the outbox of the settings.

    Raises:
        PipelinesError: a setting is missing, or the mapping is wrong.
    """
    url, mapping, tenant = settings.outbox_url, settings.outbox_mapping, settings.outbox_tenant
    for name, value in (("URL", url), ("MAPPING", mapping), ("TENANT", tenant)):
        if value is None:
            raise PipelinesError(f"PIPELINES_OUTBOX_{name} is not set; an outbox needs a URL, a mapping and a tenant")
    assert url is not None
    assert mapping is not None
    assert tenant is not None
    require_tenant(tenant)
    return Outbox(
        url.get_secret_value(),
        settings.outbox_table,
        tenant,
        load_mappings(mapping),
        settings.outbox_id_column,
        settings.outbox_transaction_column,
    )


def ingest_outbox(pool: ConnectionPool, outbox: Outbox) -> BatchResult:
    """Append what is new in the outbox, and move the checkpoint after it.

    Nothing is written to the source. After a kill between the two, rows are read again and are duplicates.

    Raises:
        PipelinesError: the source cannot be read.
    """
    result = BatchResult()
    for chunk, checkpoint in _new_chunks(outbox, read_checkpoint(pool, outbox)):
        events = map_rows(_rows(chunk, outbox), outbox.mappings, every_column=True)
        result += append_counted(pool, outbox.tenant_id, events, outbox.name)
        _write_checkpoint(pool, outbox, checkpoint)
    return result


def has_news(pool: ConnectionPool, outbox: Outbox) -> bool:
    """Tell whether the outbox has a row that can be taken now.

    Raises:
        PipelinesError: the source cannot be read.
    """
    return any(True for _ in _new_chunks(outbox, read_checkpoint(pool, outbox), limit=1))


def read_checkpoint(pool: ConnectionPool, outbox: Outbox) -> Checkpoint | None:
    """Return up to which row the outbox was read, or None if it never was."""
    with pool.connection() as connection:
        row = connection.execute(
            "select incarnation, transaction_id, row_id from event_log.outbox_checkpoints "
            "where tenant_id = %s and outbox = %s",
            [outbox.tenant_id, outbox.name],
        ).fetchone()
    return None if row is None else Checkpoint(*row)


def _write_checkpoint(pool: ConnectionPool, outbox: Outbox, checkpoint: Checkpoint) -> None:
    with pool.connection() as connection:
        connection.execute(
            """
            insert into event_log.outbox_checkpoints (tenant_id, outbox, incarnation, transaction_id, row_id)
            values (%s, %s, %s, %s, %s)
            on conflict (tenant_id, outbox) do update set incarnation = excluded.incarnation,
                transaction_id = excluded.transaction_id, row_id = excluded.row_id, read_at = clock_timestamp()
            """,
            [
                outbox.tenant_id,
                outbox.name,
                checkpoint.incarnation,
                checkpoint.transaction_id,
                checkpoint.row_id,
            ],
        )


def _new_chunks(
    outbox: Outbox, known: Checkpoint | None, limit: int | None = None
) -> Iterator[tuple[list[dict[str, Any]], Checkpoint]]:
    """Yield the rows that are new, some thousands at a time, each with the checkpoint that follows it.

    All are read within one snapshot, in which the rows and the transactions still open belong together.
    """
    try:
        with psycopg.connect(
            outbox.url, connect_timeout=CONNECT_SECONDS, application_name="pipelines outbox", options="-c timezone=UTC"
        ) as source:
            source.read_only = True
            source.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for kind in ("json", "jsonb"):  # as text, which has every digit and each key of it
                source.adapters.register_loader(kind, TextLoader)
            found = source.execute(_INCARNATION, [outbox.table]).fetchone()
            assert found is not None
            since = known if known is not None and known.incarnation == found[0] else Checkpoint(found[0])
            with source.cursor("pipelines_outbox", row_factory=dict_row) as cursor:
                arguments = {"transaction_id": str(since.transaction_id), "row_id": since.row_id, "limit": limit}
                cursor.itersize = FETCHED_ROWS
                cursor.execute(_new_rows(outbox, since), arguments)
                for chunk in cut(cursor, weight, ROWS):
                    newest = chunk[-1]
                    yield chunk, Checkpoint(since.incarnation, newest["pipelines_transaction"], newest["pipelines_id"])
    except psycopg.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PipelinesError(
            f"the outbox {outbox.name} cannot be read: {reason}; correct the settings PIPELINES_OUTBOX_*, or grant the "
            "login select on the table"
        ) from None


def _new_rows(outbox: Outbox, since: Checkpoint) -> sql.Composed:
    own = outbox.transaction_column
    return sql.SQL(_NEW_ROWS).format(
        transaction=sql.SQL(_SYSTEM_TRANSACTION) if own is None else sql.Identifier("outbox", own),
        kind=sql.SQL("bigint" if own is None else "xid8"),
        id=sql.Identifier(outbox.id_column),
        table=sql.Identifier(*outbox.table.split(".")),
        # A literal takes the type of the column that it is compared with, whatever that is.
        row_id=sql.Literal(since.row_id),
    )


def _rows(chunk: list[dict[str, Any]], outbox: Outbox) -> Iterator[Row]:
    for values in chunk:
        origin = f"{outbox.name}: {outbox.id_column} {values.pop('pipelines_id')}"
        del values["pipelines_transaction"]
        yield Row(values, None, origin)
