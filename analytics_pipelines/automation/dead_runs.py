"""Runs whose process is gone.

Defines `end_dead_runs()`. Dagster's run monitoring does not look after runs that its default launcher started, nor
after those of `pipelines build`: killed, they would count as running for their maximum runtime and hold back all
others.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import psutil
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun

HOST_TAG = "pipelines/host"
"""Where `pipelines build` runs; other runs are where the code server is, as is whoever asks."""

BUILD_TAG = "pipelines/build"
"""Of a run of `pipelines build`: its process and when that began the run (nanoseconds): `12605-1795319356415015134`."""

CLOCK_SECONDS = 2.0


def dead_runs(instance: DagsterInstance) -> list[DagsterRun]:
    """Return the runs of this host that count as started and whose process has ended."""
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    here = [run for run in started if run.tags.get(HOST_TAG, socket.gethostname()) == socket.gethostname()]
    return [run for run in here if not _is_alive(instance, run)]


def end_dead_runs(instance: DagsterInstance) -> int:
    """Report dead runs as failed, so that Dagster's run retries do the rest, and return how many there were."""
    ended = dead_runs(instance)
    for run in ended:
        instance.report_run_failed(run, "The process of this run has ended without a word: it was killed.")
    return len(ended)


def _is_alive(instance: DagsterInstance, run: DagsterRun) -> bool:
    if BUILD_TAG in run.tags:  # known from the first moment, also of one that was killed before it said anything
        pid, began = run.tags[BUILD_TAG].split("-")
        return _runs_since(int(pid), int(began) / 1e9)
    found = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    for record in found.records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is not None:
            return _runs_since(int(str(pid.value)), record.event_log_entry.timestamp)
    return True  # it has not said yet which process it is


def _runs_since(pid: int, moment: float) -> bool:
    """Tell whether the process that had this id at the moment still runs; ids are given out again."""
    try:
        return psutil.Process(pid).create_time() <= moment + CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return False
