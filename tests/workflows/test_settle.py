"""A server that ends with its run has written down all of it, and does not hold up the end."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from live_server import environment

TASKS = 150
RUN = """
import sys, time
from pathlib import Path
from pipeline.store import Store
from workflows import server
store = Store(Path(sys.argv[1]))
with server.embedded(store):
    from prefect import flow, task
    from prefect.events import emit_event
    from workflows.dead_runs import note_run
    @flow
    def quick(count: int) -> None:
        note_run(store)
        for future in task(lambda number: number).map(range(count)):
            future.wait()
        for number in range(count):
            emit_event("late", resource={"prefect.resource.id": f"tubelet.{number}"})
    quick(int(sys.argv[2]))
"""


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
def test_a_server_that_ends_with_its_run_knows_all_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path), str(TASKS)]
    subprocess.run(command, env=environment(), cwd=tmp_path, check=True, timeout=120)
    with closing(sqlite3.connect(tmp_path / "prefect" / "prefect.db")) as database:
        states = database.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
    assert states == [("COMPLETED", TASKS)]
