"""How things are measured: wall time, the peak memory of any one process, medians."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        what: what was measured.
        value: the figure, with its unit.
        baseline: what it is compared with, and that one's figure in the same run.
        ratio: the figure by the baseline's.
        limit: what it should not exceed, in words.
        kept: whether it does not.
    """

    what: str
    value: str
    baseline: str
    ratio: float | None = None
    limit: str = ""
    kept: bool = True


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median_seconds(command: Sequence[str], environment: Mapping[str, str], times: int = 5) -> float:
    """Return the median time of a command."""

    def run() -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return statistics.median(seconds(run) for _ in range(times))


def peak_megabytes() -> float:
    """Return the largest resident size that any ended child process of this one, or child of a child, has had."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
