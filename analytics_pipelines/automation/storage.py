"""Dagster's own storage on Postgres, with connections that are kept: what `dagster.yaml` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import psycopg2
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError

if TYPE_CHECKING:
    from dagster._core.storage.config import PostgresStorageConfig
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy.engine.interfaces import DBAPIConnection

RECYCLE_SECONDS = 3600


class PooledStorage(DagsterPostgresStorage):
    """Dagster's storage as the webserver has it, in every process: each part keeps a connection open.

    Dagster connects for each statement elsewhere, and has no setting for that (its issue 33935): 3,460 times, 21 of the
    58 s of a build when little was new.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: PostgresStorageConfig
    ) -> DagsterPostgresStorage:
        """Make the storage of what `dagster.yaml` says."""
        storage = super().from_config_value(inst_data, config_value)
        for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
            # What is needed beside the one is opened, and closed again.
            part.optimize_for_webserver(statement_timeout=0, pool_recycle=RECYCLE_SECONDS, max_overflow=-1)
            event.listen(cast("Any", part)._engine, "checkout", _try)  # noqa: SLF001 - Dagster shows it to nobody
        return storage


def _try(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Find out whether a kept connection still stands: a server that was restarted would fail the run that uses it.

    Raises:
        DisconnectionError: it does not; another is made.
    """
    try:
        connection.cursor().execute("select")
    except psycopg2.Error as error:
        raise DisconnectionError(str(error)) from error
