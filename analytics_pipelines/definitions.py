"""The door: every room's definitions, merged in the order data flows."""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from analytics_pipelines.automation import jobs as automation_jobs
from analytics_pipelines.automation import schedules
from analytics_pipelines.automation import sensors as automation_sensors
from analytics_pipelines.event_log import assets as event_log
from analytics_pipelines.event_log import checks as event_log_checks
from analytics_pipelines.features import assets as features
from analytics_pipelines.features import checks as features_checks
from analytics_pipelines.forecasting import assets as forecasting
from analytics_pipelines.forecasting import checks as forecasting_checks
from analytics_pipelines.graph import assets as graph
from analytics_pipelines.graph import checks as graph_checks
from analytics_pipelines.ingestion import assets as ingestion
from analytics_pipelines.ingestion import checks as ingestion_checks
from analytics_pipelines.read_models import assets as read_models
from analytics_pipelines.read_models import checks as read_models_checks
from analytics_pipelines.resources import Platform
from analytics_pipelines.sagas import assets as sagas
from analytics_pipelines.sagas import checks as sagas_checks
from analytics_pipelines.sagas import jobs as sagas_jobs
from analytics_pipelines.sagas import sensors as sagas_sensors
from analytics_pipelines.settings import load_settings
from analytics_pipelines.warehouse import assets as warehouse

settings = load_settings()
has_outbox = settings.outbox_url is not None
sources = [
    *ingestion.SOURCES,
    *(ingestion.OUTBOX_SOURCES if has_outbox else []),
    *(ingestion.DEMO_SOURCES if settings.demo else []),
]

defs = Definitions(
    assets=[
        *sources,
        *event_log.after(sources),
        *read_models.ASSETS,
        *warehouse.ASSETS,
        *graph.ASSETS,
        *forecasting.ASSETS,
        *features.ASSETS,
        *sagas.ASSETS,
    ],
    asset_checks=[
        *ingestion_checks.CHECKS,
        *event_log_checks.CHECKS,
        *read_models_checks.CHECKS,
        *graph_checks.CHECKS,
        *forecasting_checks.CHECKS,
        *features_checks.CHECKS,
        *sagas_checks.CHECKS,
    ],
    jobs=[*automation_jobs.JOBS, *(automation_jobs.OUTBOX_JOBS if has_outbox else []), *sagas_jobs.JOBS],
    schedules=schedules.SCHEDULES,
    sensors=[
        *automation_sensors.SENSORS,
        *(automation_sensors.OUTBOX_SENSORS if has_outbox else []),
        *sagas_sensors.SENSORS,
    ],
    resources={"platform": Platform()},
    executor=in_process_executor,
)
