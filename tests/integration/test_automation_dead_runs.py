"""A run whose process was killed is ended, whenever that was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, job, op

from analytics_pipelines.automation.dead_runs import BUILD_TAG, HOST_TAG, dead_runs

if TYPE_CHECKING:
    from dagster import DagsterInstance


@op
def _nothing() -> None: ...


@job
def _idle() -> None:
    _nothing()


def test_a_build_killed_before_it_said_anything_is_dead(instance: DagsterInstance) -> None:
    """A run of `pipelines build` is known by its process from the first moment, and only while that runs."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    runs = [
        instance.create_run_for_job(
            _idle,
            status=DagsterRunStatus.STARTED,
            tags={BUILD_TAG: f"{pid}-{time.time_ns()}", HOST_TAG: socket.gethostname()},
        ).run_id
        for pid in (ended.pid, os.getpid())
    ]
    assert [run.run_id for run in dead_runs(instance)] == runs[:1]
    for run_id in runs:
        instance.delete_run(run_id)
