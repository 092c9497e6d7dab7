"""What orchestration costs: a hundred thousand videos and a stage that does next to nothing.

``python benchmarks/scale.py`` makes a folder of tiny files, plans a recipe over it, runs it with a
child process a part, plans it again with everything in the store, and once more after one video
came in. Each row is one ``tubelet`` command in a process of its own: wall seconds, and the most
memory that process held.

``--steps 7`` plans as wide a graph as ``preprocess`` has; ``--fill`` commits the artifacts in one
process instead of running anything. ``--profile`` prints where the time of the cached plan goes.

``--prefect N`` runs N videos through Prefect and without it, and counts the rows of its database:
SQLite, or what ``PREFECT_SERVER_DATABASE_CONNECTION_URL`` names, which must be empty. With
``--steps 0`` the tasks are those of the source alone, which need no child process. ``--tasks N``
runs N tasks that do nothing, and tells whether the last ones take longer than the first.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from pipeline.graph import Step
from pipeline.keys import parameters_of
from pipeline.records import write_record
from pipeline.stage import VideoStage
from pipeline.store import Store, describe_files
from stages.sources.folder import Folder
from storage_schemas.boxes import Boxes
from storage_schemas.manifest import Manifest
from storage_schemas.videos import VideoFile
from workflows import server
from workflows.session import Request, open_graph, open_plan

ROOT = Path(__file__).parents[1]
STEPS = "TUBELET_SCALE_STEPS"  # how many steps read the folder; the recipe has no parameters


class NearZero(VideoStage, name="near_zero", version=1):
    """One box for a video, whatever is in it."""

    side: int = 1

    def process(self, *, videos: VideoFile) -> Boxes:
        return Boxes(
            video_id=videos.video_id,
            num_frames=1,
            height=100,
            width=100,
            frame=np.zeros(1, np.int32),
            xyxy=np.array([[0, 0, self.side, self.side]], np.float32),
        )


def recipe() -> Sequence[Step]:
    """As many steps as asked for, each over all videos."""
    videos = Folder().of()
    count = int(os.environ.get(STEPS, "1"))
    return (
        [videos]
        if not count
        else [
            NearZero(side=n + 1).of(videos=videos, step_name=f"near_zero_{n}") for n in range(count)
        ]
    )


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def command(*arguments: str, folder: Path, store: Path) -> Cost:
    """Run ``tubelet`` and measure it; `cpu_seconds` count its children too."""
    program = "import sys; from workflows.cli import main; main()"
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": ":".join(paths)}
    started = time.perf_counter()
    where = ["--set", f"folder.path={folder}", "--store", str(store)]
    child = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, *where],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"tubelet {' '.join(arguments)} ended with {status}")
    seconds = time.perf_counter() - started
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def make_videos(folder: Path, count: int) -> None:
    """Files of a few bytes, a thousand in a folder, all different."""
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.mp4"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"%d" % number)


def fill(store: Store, request: Request) -> None:
    """Commit an artifact for each node that the store lacks, in this process."""
    graph = open_graph(request, store)
    for entry in open_plan(request, store, graph).to_run:
        node = entry.node
        data = store.staging(node.key) / "data"
        data.mkdir()
        (data / "boxes.arrow").write_bytes(b"nothing")
        manifest = Manifest(
            key=node.key,
            stage=node.stage.name,
            stage_version=node.stage.version,
            step=node.step,
            noun=node.stage.output.name,
            noun_version=node.stage.output.version,
            parameters=parameters_of(node.stage),
            inputs=node.input_keys(),
            part=node.part,
            items=node.video_ids,
            files=describe_files(data, {}),
        )
        store.commit(node.key, data, manifest)
    write_record(store, request.recipe, graph)


def profile_plan(store: Store, request: Request) -> None:
    """Where the time of a cached plan goes."""
    profile = cProfile.Profile()
    profile.enable()
    open_plan(request, store, open_graph(request, store))
    profile.disable()
    pstats.Stats(profile).sort_stats("cumulative").print_stats(40)


def rows_of(store: Store) -> dict[str, int]:
    """Rows of each table of Prefect's database that has any, most first."""
    url = os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    database = store.root / "prefect" / "prefect.db"
    counts = asyncio.run(_count_rows(url or f"sqlite+aiosqlite:///{database}"))
    return dict(sorted(((t, n) for t, n in counts.items() if n), key=lambda item: -item[1]))


async def _count_rows(url: str) -> dict[str, int]:
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        found = {t: await connection.execute(text(f'SELECT count(*) FROM "{t}"')) for t in tables}
        counts = {table: rows.scalar_one() for table, rows in found.items()}
    await engine.dispose()
    return counts


def run_tasks(store: Store, count: int, block: int = 500) -> None:
    """Print what a task costs, block by block, and what is left of them in the database."""
    with server.embedded(store):
        from prefect import flow, task
        from prefect.cache_policies import NO_CACHE

        from workflows.dead_runs import note_run
        from workflows.flow import task_runner

        nothing = task(lambda number: number, cache_policy=NO_CACHE)

        @flow(name="tasks", task_runner=task_runner())
        def tasks() -> None:
            note_run(store)
            for first in range(0, count, block):
                started = time.perf_counter()
                for future in [nothing.submit(n) for n in range(first, first + block)]:
                    future.wait()
                milliseconds = 1000 * (time.perf_counter() - started) / block
                print(f"tasks {first + block:6d}: {milliseconds:.1f} ms each", flush=True)

        tasks()
        started = time.perf_counter()
    print(f"the server has them all after {time.perf_counter() - started:.1f} s")
    if "PREFECT_API_URL" not in os.environ:
        print({table: rows for table, rows in rows_of(store).items() if rows >= count / 2})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--fill", action="store_true")
    parser.add_argument("--prefect", type=int, metavar="N", help="N videos through Prefect instead")
    parser.add_argument("--tasks", type=int, metavar="N", help="N tasks of Prefect's, and no more")
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    if asked.tasks:
        with tempfile.TemporaryDirectory(prefix="tubelet-scale-") as temporary:
            run_tasks(Store(Path(temporary)), asked.tasks)
        return
    os.environ[STEPS] = str(asked.steps)
    root = Path(tempfile.mkdtemp(prefix="tubelet-scale-"))
    folder, store = root / "videos", root / "store"
    count = asked.prefect or asked.videos
    make_videos(folder, count)
    table = Table("command", "seconds", "CPU seconds", "peak MiB", title=f"{count} videos")

    def add(what: str, *arguments: str, store: Path = store) -> None:
        cost = command(*arguments, folder=folder, store=store)
        table.add_row(what, *(f"{x:.1f}" for x in (cost.seconds, cost.cpu_seconds, cost.peak_mib)))

    try:
        request = Request("scale", [f"folder.path={folder}"])
        if asked.prefect:
            add("run, through Prefect", "run", "scale")
            add("run again", "run", "scale")
            add("run, without", "run", "scale", "--no-prefect", store=root / "without")
        else:
            add("plan, nothing known", "plan", "scale")
            if asked.fill:
                fill(Store(store), request)
            else:
                add("run, a child process a part", "run", "scale", "--no-prefect")
            add("plan, all cached", "plan", "scale")
            add("run, all cached", "run", "scale", "--no-prefect")
            (folder / "late.mp4").write_bytes(b"late")
            add("plan, one new video", "plan", "scale")
        Console().print(table)
        if asked.prefect:
            rows = rows_of(Store(store))
            for name, count in rows.items():
                print(f"{count:8d} {name}, {count / rows['task_run']:.1f} a task")
        else:
            files = [path for path in store.rglob("*") if path.is_file()]
            total = sum(path.stat().st_size for path in files)
            print(f"store: {len(files)} files, {total / 2**20:.1f} MiB")
        if asked.profile:
            profile_plan(Store(store), request)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    import scale  # the children must find the stage in a module of this name

    scale.main()
