"""Tasks that work on a GPU queue for it, on a real server; one that is killed frees its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live_server import API, TUBELET, call, environment, prefect, wait_for

LIMIT = "tubelet-gpu"

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.xdist_group("prefect"),
    pytest.mark.filterwarnings("default"),  # Prefect's own dependencies warn
]


def start(world: Path, run: str) -> subprocess.Popen[bytes]:
    """A run that logs to a file of its own, over a store of its own."""
    command = [
        *TUBELET, "run", "gpu_recipe", "--store", str(world / run), "--workers", "2",
        "--set", f"folder.path={world / 'videos'}",
    ]  # fmt: skip
    more = {"PROBE_LOG": str(world / f"{run}.log"), "HANG": str(world / "hang")}
    with (world / f"{run}.out").open("w") as out:
        return subprocess.Popen(
            command, env=environment(PREFECT_API_URL=API, **more), stdout=out, stderr=out
        )


def finish(world: Path, run: str) -> str:
    process = start(world, run)
    try:
        assert process.wait(120) == 0, (world / f"{run}.out").read_text()
    finally:
        process.kill()
    return (world / f"{run}.out").read_text()


def overlap(world: Path, run: str) -> bool:
    """Whether one stage began before the other had ended."""
    lines = (world / f"{run}.log").read_text().splitlines()
    ordered = sorted(lines, key=lambda line: float(line.split()[2]))
    return [line.split()[0] for line in ordered] != ["begin", "end"] * 2


def expire_leases(home: Path) -> None:
    """As if the minute had passed for which a slot is kept unless it is asked for again."""
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    for path in home.rglob("concurrency_leases/*.json"):
        content = json.loads(path.read_text())
        if path.name == "expirations.json":
            content = dict.fromkeys(content, past)
        else:
            content["expiration"] = past
        path.write_text(json.dumps(content))


def test_gpu_tasks_never_overlap_where_there_is_a_limit(live_server: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_text("a")
    finish(tmp_path, "free")
    assert overlap(tmp_path, "free")

    prefect("gcl", "create", LIMIT, "--limit", "1")

    def taken() -> int:
        slots: int = call(f"/v2/concurrency_limits/{LIMIT}")["active_slots"]
        return slots

    (tmp_path / "hang").touch()
    killed = start(tmp_path, "limited")
    wait_for(lambda: (tmp_path / "limited.log").exists())
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert taken() == 1
    (tmp_path / "hang").unlink()
    (tmp_path / "limited.log").unlink()
    expire_leases(live_server)
    wait_for(lambda: taken() == 0, seconds=30)
    out = finish(tmp_path, "limited")
    assert "was killed; Prefect shows it as crashed now" in out
    assert not overlap(tmp_path, "limited")
    assert taken() == 0
