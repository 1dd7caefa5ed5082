"""Where the database's time goes: slow statements and their plans, unused indexes, tables read from end to end.

Defines `read()` and `markdown()`. What it says are counts since the server last forgot them; a mart that was made anew
begins at zero.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors

if TYPE_CHECKING:
    from psycopg import Connection

STATEMENTS = 10
TABLES = 20
LEAST_BYTES = 1 << 20
LEAST_ROWS = 10_000
PLAN_TIMEOUT = "5s"
GENERIC_PLANS_SINCE = 160_000

_STATEMENTS = """
    select role, query, calls, mean_milliseconds, total_milliseconds, rows from access.statements()
    where query ~* '^\\s*(select|with)\\M'
    order by total_milliseconds desc limit %s
"""
_UNUSED_INDEXES = """
    select s.indexrelid::regclass::text, s.relid::regclass::text, pg_relation_size(s.indexrelid)
    from pg_stat_user_indexes as s join pg_index as i using (indexrelid)
    where s.idx_scan = 0 and not i.indisunique and pg_relation_size(s.indexrelid) >= %s
    order by 3 desc limit %s
"""
_SCANNED_TABLES = """
    select relid::regclass::text, seq_scan, seq_tup_read / seq_scan, coalesce(idx_scan, 0)
    from pg_stat_user_tables
    where seq_scan > coalesce(idx_scan, 0) and seq_tup_read / nullif(seq_scan, 0) >= %s
    order by seq_tup_read desc limit %s
"""
# `date $1` was `date '2017-01-01'`; a parameter takes its type behind it.
_TYPED_PARAMETER = re.compile(r"\b(timestamptz|timestamp|date|time|interval)\s+(\$\d+)", re.IGNORECASE)


_NOT_COUNTED = """
The server does not count statements: put pg_stat_statements into shared_preload_libraries, and run
`create extension pg_stat_statements` in this database.
""".strip()


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as pg_stat_statements knows it: with $1, $2, ... for its values.

    Attributes:
        role: as whom it runs.
        query: its text.
        calls: how often it has run.
        mean_milliseconds: how long it takes.
        total_milliseconds: how long all its runs took together.
        rows: how many rows all its runs have returned.
        plan: how Postgres would run it today for any values, without row security; or why that cannot be said.
    """

    role: str
    query: str
    calls: int
    mean_milliseconds: float
    total_milliseconds: float
    rows: int
    plan: str


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """What the server has counted.

    Attributes:
        statements: those that took the most time in all; None where the server does not count statements.
        unused_indexes: index, table and bytes of each index of some size that no query has used; unique ones are
            rules, not aids.
        scanned_tables: table, scans from end to end, rows of each, and scans by an index, of large tables.
    """

    statements: list[Statement] | None
    unused_indexes: list[tuple[str, str, int]]
    scanned_tables: list[tuple[str, int, int, int]]


def read(connection: Connection) -> DatabaseReport:
    """Read what the server has counted, in the caller's transaction."""
    return DatabaseReport(
        _statements(connection),
        connection.execute(_UNUSED_INDEXES, [LEAST_BYTES, TABLES]).fetchall(),
        connection.execute(_SCANNED_TABLES, [LEAST_ROWS, TABLES]).fetchall(),
    )


def markdown(report: DatabaseReport) -> str:
    """Write the report for people."""
    indexes = [(index, table, f"{size / 2**20:,.1f} MB") for index, table, size in report.unused_indexes]
    tables = [(name, *(f"{number:,}" for number in numbers)) for name, *numbers in report.scanned_tables]
    parts = [
        "## Statements that took the most time",
        *_statements_markdown(report.statements),
        "## Indexes that no query has used",
        _table(("index", "table", "size"), indexes),
        "## Large tables that are mostly read from end to end",
        _table(("table", "scans", "rows a scan", "scans by an index"), tables),
    ]
    return "\n\n".join(parts)


def _statements(connection: Connection) -> list[Statement] | None:
    try:
        with connection.transaction():
            found = connection.execute(_STATEMENTS, [STATEMENTS]).fetchall()
    except errors.ObjectNotInPrerequisiteState:
        return None
    return [Statement(*row, plan=_plan(connection, row[1])) for row in found]


def _plan(connection: Connection, query: str) -> str:
    if connection.info.server_version < GENERIC_PLANS_SINCE:
        return "Postgres 16 is the first to plan a statement without its values"
    explain = "explain (generic_plan) " + _TYPED_PARAMETER.sub(r"\2::\1", query)
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("set transaction read only")
            connection.execute("select set_config('statement_timeout', %s, true)", [PLAN_TIMEOUT])
            # Without values: Postgres would plan for those. The text is of one statement, as the server has cut it out.
            return "\n".join(line for (line,) in connection.execute(explain.encode()))
    except errors.Error as error:
        return f"not planned: {str(error).splitlines()[0]}"


def _statements_markdown(statements: list[Statement] | None) -> list[str]:
    if statements is None:
        return [_NOT_COUNTED]
    headings = ("", "role", "calls", "mean", "in all", "rows a call")
    rows = [
        (
            f"{number}",
            one.role,
            f"{one.calls:,}",
            f"{one.mean_milliseconds:,.1f} ms",
            f"{one.total_milliseconds / 1000:,.1f} s",
            f"{one.rows / one.calls:,.0f}",
        )
        for number, one in enumerate(statements, 1)
    ]
    plans = [
        f"{number}.\n\n```sql\n{one.query.strip()}\n```\n\n```\n{one.plan}\n```"
        for number, one in enumerate(statements, 1)
    ]
    return [_table(headings, rows), *plans]


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    return "\n".join("| " + " | ".join(line) + " |" for line in (headings, ("---",) * len(headings), *rows))
