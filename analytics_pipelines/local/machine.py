"""The machine: how much memory a server may count on."""

from __future__ import annotations

from pathlib import Path

import psutil

# A container's limit is below what the machine has.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes() -> int:
    """Measure the memory of the machine, or of the container that this process lives in."""
    limits = [path.read_text(encoding="ascii").strip() for path in _LIMITS if path.exists()]
    return min([psutil.virtual_memory().total, *(int(limit) for limit in limits if limit.isdigit())])
