"""How things are measured: wall time in turns with the baseline, the peak memory of any one process, medians."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROUNDS = 5


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


def at_least(what: str, rate: float, name: str, baseline: float, limit: str = "") -> Figure:
    """Return a figure of events/s; `limit` is a ratio to the baseline (">= 0.5x"), a rate, both, or none."""
    wanted = [
        float(part.strip(" >=x").replace(",", "")) <= (rate / baseline if part.endswith("x") else rate)
        for part in limit.split(" and ")
        if part
    ]
    return Figure(what, f"{rate:,.0f} events/s", f"{name} {baseline:,.0f}", rate / baseline, limit, all(wanted))


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(ours: Callable[[int], object], baseline: Callable[[int], object]) -> tuple[float, float]:
    """Return the median seconds of two ways, measured in turns: a shared machine is not as fast at every moment.

    Both get the number of the round, from 1.
    """
    times = [(seconds(lambda n=n: ours(n)), seconds(lambda n=n: baseline(n))) for n in range(1, ROUNDS + 1)]
    first, second = (statistics.median(side) for side in zip(*times, strict=True))
    return first, second


def median_of(work: Callable[[int], object]) -> float:
    """Return the median seconds of some rounds; each gets its number, from 1."""
    return statistics.median(seconds(lambda n=n: work(n)) for n in range(1, ROUNDS + 1))


def median_seconds(command: Sequence[str], environment: Mapping[str, str], times: int = 5) -> float:
    """Return the median time of a command."""

    def run() -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return statistics.median(seconds(run) for _ in range(times))


def peak_megabytes() -> float:
    """Return the largest resident size that any ended child process of this one, or child of a child, has had."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
