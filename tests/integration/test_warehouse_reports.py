"""What the database says of its own work, out of a real server's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from analytics_pipelines import connections
from analytics_pipelines.warehouse import database_report

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.settings import Settings

TABLE = """
    create table marts.wide as select n, repeat('x', 100) || n as text from generate_series(1, 20000) as n;
    create index on marts.wide (text);
    select count(*) from marts.wide where n % 7 = 1;
    select pg_stat_force_next_flush();
"""
SLOW = "select max(ends) from (select date '2017-01-01' + n %% 9 as ends from marts.wide where n > %s) as days"


def test_slow_statements_unused_indexes_and_scans_are_told(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """A statement is shown with its plan, an index that no query used by its size, a large table by its scans."""
    with database.connection() as connection:
        connection.execute(TABLE)
        connection.commit()
        for number in range(3):
            connection.execute(SLOW, [number])
        connection.commit()

        report = database_report.read(connection)

    [statement] = [one for one in report.statements or () if "max(ends)" in one.query]
    assert (statement.calls, statement.rows, statement.role) == (3, 3, "pipelines_runtime")
    assert "Seq Scan on wide" in statement.plan
    assert [names[:2] for names in report.unused_indexes] == [("marts.wide_text_idx", "marts.wide")]
    assert [(table, rows) for table, _, rows, _ in report.scanned_tables] == [("marts.wide", 20000)]
    text = database_report.markdown(report)
    assert "| marts.wide_text_idx | marts.wide | " in text
    assert statement.plan in text


def test_a_server_that_does_not_count_statements_is_said_to(
    database: ConnectionPool, database_settings: Settings
) -> None:
    """Without the extension the rest of the report is there, and says what to do."""
    with psycopg.connect(connections.admin_url(database_settings)) as admin:
        admin.execute("drop extension pg_stat_statements")
    with database.connection() as connection:
        report = database_report.read(connection)

    assert report.statements is None
    assert "shared_preload_libraries" in database_report.markdown(report)
    assert "## Indexes that no query has used\n\nNone." in database_report.markdown(report)
