"""The command is interrupted for real: children end, locks are free, the same again resumes."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from command import tubelet

COMMAND = [sys.executable, "-c", "from workflows.entry import main; main()"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two videos that are quick, and one that hangs until it is told not to."""
    monkeypatch.setenv("FLAKY", str(tmp_path / "flaky"))
    monkeypatch.setenv("PROBE_LOG", str(tmp_path / "log"))
    (tmp_path / "videos").mkdir()
    for name in ("a", "b", "slow"):
        (tmp_path / "videos" / f"{name}.mp4").write_text(name)
    return tmp_path


def arguments(world: Path) -> list[str]:
    return [
        "run", "flaky_recipe", "--store", str(world / "store"),
        "--set", f"folder.path={world / 'videos'}",
    ]  # fmt: skip


@pytest.fixture
def start(world: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a run in a process of its own, and wait until it is in the slow video."""
    started: list[subprocess.Popen[str]] = []

    def begin(*more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments(world), *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
            # Where the tests run in the background of a shell, Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log(world: Path) -> list[str]:
    path = world / "log"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def is_free(world: Path) -> bool:
    """Whether no process holds the lock of the flaky stage's key."""
    (path,) = (world / "store" / "locks").glob("flaky-*.lock")
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def in_slow_video(world: Path) -> bool:
    return "flaky slow.mp4" in log(world)


def forget_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run brings its own, with a database in the store."""
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)


def states(world: Path, table: str) -> list[str]:
    """Of flow runs or task runs, oldest first, as the database of the store has them."""
    with closing(sqlite3.connect(world / "store" / "prefect" / "prefect.db")) as database:
        rows = database.execute(f"SELECT state_type FROM {table} ORDER BY created").fetchall()
    return [state for (state,) in rows]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_children_and_the_next_run_resumes(
    world: Path, start: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = start("--no-prefect")
    wait_for(lambda: in_slow_video(world))
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    assert not is_free(world)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, out
    assert "interrupted; what is finished is kept: run the same command to resume" in out
    assert "Traceback" not in out
    assert not any(child.is_running() for child in children)
    assert is_free(world)
    plan = tubelet("plan", *arguments(world)[1:])
    assert "interrupted before (2 videos done already)" in plan
    (world / "flaky").touch()
    out = tubelet(*arguments(world), "--no-prefect")
    assert "3 computed, 1 cached, 0 videos quarantined" in out
    assert log(world).count("flaky a.mp4") == 1


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
def test_ctrl_c_of_a_terminal_reaches_prefect_too(
    world: Path, start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process of the terminal's group is told; the server must live to hear the end."""
    forget_servers(monkeypatch)
    process = start()
    wait_for(lambda: in_slow_video(world))
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("prefect" in " ".join(child.cmdline()) for child in children)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "interrupted; what is finished is kept" in out
    assert "Traceback" not in out
    assert not any(child.is_running() for child in children)
    assert states(world, "flow_run") in (["CRASHED"], ["CANCELLED"])


@pytest.mark.prefect
@pytest.mark.xdist_group("prefect")
def test_prefect_learns_of_a_killed_run_from_the_next(
    world: Path, start: Callable[..., subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_servers(monkeypatch)
    process = start()
    wait_for(lambda: in_slow_video(world))
    wait_for(lambda: "RUNNING" in states(world, "task_run"))
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    wait_for(lambda: not any(child.is_running() for child in children), seconds=30)
    assert states(world, "flow_run") == ["RUNNING"]
    (world / "flaky").touch()
    process = start()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "was killed; Prefect shows it as crashed now" in out
    assert "3 computed, 1 cached" in out
    assert log(world).count("flaky a.mp4") == 1
    assert states(world, "flow_run") == ["CRASHED", "COMPLETED"]
    assert "RUNNING" not in states(world, "task_run")
    assert "CRASHED" in states(world, "task_run")
    assert not list((world / "store" / "prefect" / "running").iterdir())


def test_a_killed_run_is_known_to_be_dead(
    world: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start("--no-prefect")
    wait_for(lambda: in_slow_video(world))
    process.kill()
    process.communicate()
    wait_for(lambda: is_free(world), seconds=20)
    assert "interrupted before (2 videos" in tubelet("plan", *arguments(world)[1:])
    assert "kept: unfinished work on 1 artifact" in tubelet("gc", "--store", world / "store")
    (world / "flaky").touch()
    out = tubelet(*arguments(world), "--no-prefect")
    assert "waiting" not in out
    assert "0 videos quarantined" in out
    assert log(world).count("flaky a.mp4") == 1


def test_a_run_that_waits_for_another_can_be_interrupted(
    world: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start("--no-prefect")
    wait_for(lambda: in_slow_video(world))
    second = start("--no-prefect")
    assert second.stdout is not None
    for line in second.stdout:
        if re.search("another run is computing it, waiting", line):
            break
    second.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert second.wait(timeout=60) == 128 + signal.SIGINT
    assert time.monotonic() - started < 30
    assert first.poll() is None
    assert not is_free(world)
    (world / "flaky").touch()  # the first goes on, undisturbed
    assert first.wait(timeout=120) == 0
    assert os.listdir(world / "store" / "staging") == []
