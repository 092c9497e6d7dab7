"""What each runner costs: one recipe of near-zero stages, on threads, processes, Dask and Ray.

``python benchmarks/runners.py`` runs `benchmarks/scale.py`'s recipe through one Prefect server
over one part and over many. Each row is a ``tubelet run`` of two workers: seconds for both sizes,
and for the larger one CPU seconds and the most memory (PSS) of the command with all processes
that it starts, the children that do the work included. The server is counted in none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import scale
from rich.console import Console
from rich.table import Table

from pipeline.store import Store
from workflows import server

RUNNERS = ("none", "threads", "processes", "dask", "ray")
PART = 64
_PORT = 4870


@dataclass(frozen=True)
class Cost:
    """Of one command and all that it started."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    processes: int


def measure(runner: str, videos: Path, store: Path) -> Cost:
    """Run the recipe and watch its processes."""
    far = runner in ("processes", "dask", "ray")
    how = ["--no-prefect"] if runner == "none" else ["--runner", runner]
    paths = [str(scale.ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    program = "import sys; from workflows.cli import main; main()"
    where = ["--data", str(videos), "--store", str(store), "--workers", "2"]
    started = time.perf_counter()
    command = psutil.Popen(
        [sys.executable, "-c", program, "run", "scale", *how, *where],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cpu: dict[int, float] = {}
    peak, most = 0, 0
    while command.poll() is None:
        memory, count = 0, 0
        with contextlib.suppress(psutil.Error):
            for process in [command, *command.children(recursive=True)]:
                memory += process.memory_full_info().pss
                count += 1
                cpu[process.pid] = cpu_of(process, watches=process != command or not far)
        peak, most = max(peak, memory), max(most, count)
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    if command.returncode:
        raise RuntimeError(f"--runner {runner} ended with {command.returncode}")
    return Cost(seconds, sum(cpu.values()), peak / 2**20, most)


def cpu_of(process: psutil.Process, *, watches: bool) -> float:
    """CPU seconds of a process; with those of the stages' processes that it has watched.

    Ray's workers are waited for by nobody, so the kernel adds nothing up for us.
    """
    if "pipeline.child" in process.cmdline():
        return 0.0  # told by who watches it
    times = process.cpu_times()
    own: float = times.user + times.system
    return own + times.children_user + times.children_system if watches else own


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", type=int, default=20)
    parser.add_argument("--runner", choices=RUNNERS, action="append")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="tubelet-runners-"))
    few, many = root / "few", root / "many"
    scale.make_videos(few, PART)
    scale.make_videos(many, PART * asked.parts)
    title = f"{2 * asked.parts} tasks"
    table = Table("runner", "2 tasks, s", f"{title}, s", "CPU s", "peak MiB", "processes")
    try:
        with server.started(Store(root / "server"), _PORT):
            for runner in asked.runner or RUNNERS:
                start = measure(runner, few, root / f"{runner}-few")
                cost = measure(runner, many, root / f"{runner}-many")
                figures = (start.seconds, cost.seconds, cost.cpu_seconds)
                table.add_row(
                    runner,
                    *(f"{x:.1f}" for x in figures),
                    f"{cost.peak_mib:.0f}",
                    str(cost.processes),
                )
        Console().print(table)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
