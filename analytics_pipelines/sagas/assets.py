"""The asset of the sagas.

Defines `sagas/executions`, which enrols what was requested. Running is the matter of `jobs.py`, on a sensor's word.
"""

from typing import Any

from dagster import AssetExecutionContext, MaterializeResult, MetadataValue, asset

from analytics_pipelines.resources import Platform


@asset(
    key=["sagas", "executions"],
    deps=[["event_log", "events"]],
    group_name="sagas",
    kinds={"python", "postgres"},
    owners=["team:analytics"],
    code_version="1",
)
def executions(context: AssetExecutionContext, platform: Platform) -> MaterializeResult[Any]:
    """One row per tenant and saga: a request in the log, and how far the answer to it has come.

    Building it enrols the requests that have settled; it runs none of them. `requested_at` is event time, `started_at`
    and `ended_at` are when a runner was really at work. A row says nothing of effects: those are events in the log.
    """
    from analytics_pipelines.sagas.catalog import SAGAS
    from analytics_pipelines.sagas.enrolment import enrol
    from analytics_pipelines.sagas.executions import count_by_status

    enrolled = sum(enrol(platform.pool, saga) for saga in SAGAS.values())
    with platform.build(context) as build:
        return build.result(enrolled=enrolled, sagas_by_status=MetadataValue.json(count_by_status(build.connection)))


ASSETS = [executions]
