"""Saga jobs: one Dagster job per saga, whose ops are the saga's steps.

Defines `saga_job()` and the jobs. An op asks the runner to carry the saga on as far as its step and shows how that
went; what happens is the runner's decision, so a run may be killed, retried or repeated. A step that fails is no failed
op: the last op takes back what came before, and the run has done its work.
"""

# No `from __future__ import annotations` here: Dagster takes the class of an op's config from the annotation itself.

from collections.abc import Callable
from typing import TYPE_CHECKING

from dagster import (
    AssetMaterialization,
    Config,
    In,
    JobDefinition,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    RunConfig,
    config_mapping,
    in_process_executor,
    job,
    op,
)

from analytics_pipelines.resources import Platform
from analytics_pipelines.sagas.campaign_launch import CAMPAIGN_LAUNCH
from analytics_pipelines.sagas.saga import Saga

if TYPE_CHECKING:
    from analytics_pipelines.sagas.runner import Runner

LAST_OP = "complete_or_compensate"
MAX_RUNTIME_SECONDS = 600


class SagaReference(Config):
    """Which saga to carry on."""

    tenant_id: str
    saga_id: str


def saga_job(saga: Saga) -> JobDefinition:
    """Make the job of a saga: start it, each of its steps, then complete or compensate it."""
    ops = [
        _op("start", f"Take the saga {saga.name} up.", lambda runner, of: runner.start(of.tenant_id, of.saga_id)),
        *(_step_op(step.name) for step in saga.steps),
        _op(
            LAST_OP,
            "Complete the saga, or take back what its steps did, the last one first.",
            lambda runner, of: runner.finish(of.tenant_id, of.saga_id),
        ),
    ]

    @config_mapping
    def same_for_every_op(config: SagaReference) -> RunConfig:
        return RunConfig(ops={definition.name: config for definition in ops})

    @job(
        name=saga.name,
        description=f"Carry a saga {saga.name} to its end. Launched by its sensor, one run at a time for each saga.",
        config=same_for_every_op,
        executor_def=in_process_executor,
        # The sensor retries, with a run key of its own; Dagster's own retries would be second runs of the same saga.
        tags={"dagster/max_retries": "0", "dagster/max_runtime": str(MAX_RUNTIME_SECONDS)},
    )
    def steps_in_order() -> None:
        before = ops[0]()
        for definition in ops[1:]:
            before = definition(before)

    return steps_in_order


def _step_op(step: str) -> OpDefinition:
    def advance(runner: "Runner", of: SagaReference) -> str:
        return runner.advance(of.tenant_id, of.saga_id, step)

    return _op(step, f"Carry the saga on until {step} has completed; nothing to do once a step has failed.", advance)


def _op(name: str, description: str, work: Callable[["Runner", SagaReference], str]) -> OpDefinition:
    @op(
        name=name,
        description=description,
        ins={} if name == "start" else {"before": In(Nothing)},
        out=Out(Nothing),
        tags={"kind": "postgres"},
    )
    def saga_op(context: OpExecutionContext, config: SagaReference, platform: Platform) -> None:
        from analytics_pipelines.sagas.runner import Runner

        status = work(Runner(platform.pool), config)
        context.log.info("saga %s of %s is %s", config.saga_id, config.tenant_id, status)
        if name == LAST_OP:
            shown = {"saga_id": config.saga_id, "tenant_id": config.tenant_id, "status": status}
            context.log_event(AssetMaterialization(asset_key=["sagas", "executions"], metadata=shown))

    return saga_op


campaign_launch_job = saga_job(CAMPAIGN_LAUNCH)

JOBS = [campaign_launch_job]
