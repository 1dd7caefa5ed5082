"""The log as assets: the events and what was refused.

Defines the two tables of the room for the catalog. Appending happens in `ingestion` and `sagas`; here the log is
observed: settled, counted, and pinned for everything downstream.
"""

from collections.abc import Sequence
from typing import Any

from dagster import AssetExecutionContext, AssetKey, AssetsDefinition, MaterializeResult, asset

from analytics_pipelines.resources import Platform


def after(sources: Sequence[AssetsDefinition]) -> list[AssetsDefinition]:
    """Return the room's assets, the events deriving from these sources."""

    @asset(
        key=["event_log", "events"],
        deps=list(sources),
        group_name="event_log",
        kinds={"postgres"},
        owners=["team:analytics"],
        code_version="1",
    )
    def events(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
        """One row per event, in the order of the log. Append-only; everything else is derived from it.

        Materializing it settles the log: the position it reports is what the whole run is built to. The ranges that
        are due are closed with a digest, whose chain's head is shown: kept elsewhere, it betrays who rewrites the log.
        Before that, whoever a restored backup has brought back is erased again.
        """
        from analytics_pipelines.event_log import digests, erasure, statistics

        erased_again = len(erasure.repeat(platform.pool, platform.settings))
        platform.pin(context)
        newest = digests.close_ranges(platform.pool, platform.settings.home)
        head = None if newest is None else f"{newest.chain.hex()} at {newest.last_position}"
        with platform.build(context) as build:
            rows = statistics.events_by_tenant(build.connection, build.up_to_position)
            return build.result(rows=rows, table="event_log.events", digest_head=head, erased_again=erased_again)

    return [events, quarantine, subject_profile]


@asset(
    key=["event_log", "quarantine"],
    deps=[AssetKey(["event_log", "events"])],
    group_name="event_log",
    kinds={"postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def quarantine(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per distinct event that was refused, with its bytes and the reason. Nothing that was sent is lost."""
    from analytics_pipelines.event_log import statistics

    with platform.build(context) as build:
        return build.result(refused_by_kind=statistics.refused_by_kind(build.connection))


@asset(
    key=["vault", "subject_profile"],
    deps=[AssetKey(["event_log", "events"])],
    group_name="event_log",
    kinds={"postgres", "python"},
    owners=["team:analytics"],
    code_version="1",
)
def subject_profile(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant and subject: the newest value of each personal field. For members of pii_reader alone.

    Nothing of it is shown here: the catalog is read by people who may not see it.
    """
    from analytics_pipelines.event_log.profile import refresh_profiles

    with platform.build(context) as build:
        return build.result(rows=refresh_profiles(platform.pool, build.connection, build.up_to_position))
