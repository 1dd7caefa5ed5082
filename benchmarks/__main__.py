"""Run the benchmarks and print one table."""

from __future__ import annotations

import os
import platform
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import dashboards, demo, log, read_models, warehouse

ALL = {
    **log.ALL,
    "read_models": read_models.figures,
    "demo": demo.figures,
    "warehouse": warehouse.figures,
    "dashboards": dashboards.figures,
}
WHOLE = ("log", "read_models", "demo", "warehouse", "dashboards")


def main() -> int:
    """Measure what was named, or everything; 1 when a figure exceeds its limit."""
    names = sys.argv[1:] or WHOLE
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"error: no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    table = Table(
        "what", box=None, title=f"{os.cpu_count()} cores, Python {platform.python_version()}", title_justify="left"
    )
    for column in ("figure", "baseline", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("limit")
    table.add_column("")
    kept = True
    for name in names:
        for figure in ALL[name]():
            ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
            mark = "" if not figure.limit else "kept" if figure.kept else "exceeded"
            table.add_row(figure.what, figure.value, figure.baseline, ratio, figure.limit, mark)
            kept = kept and figure.kept
    Console(width=140).print(table)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
