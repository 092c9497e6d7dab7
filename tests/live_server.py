"""A real Prefect server in a process of its own, as ``tubelet ui`` starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / "assets" / "clips"


def free_port() -> int:
    """A port that nobody listens at, like the next one, where reports are served."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


PORT = free_port()
API = f"http://127.0.0.1:{PORT}/api"
TUBELET = [sys.executable, "-c", "from workflows.cli import main; main()"]
SMALL = ["detect.frame_stride=64", "track.backend.name=motion"]


def call(path: str, body: Any = None) -> Any:
    """The server's answer to a request, as the pages of the UI make them."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        API + path, data=data, headers={"content-type": "application/json"}
    )
    for pause in (1, 2, 4, 8, None):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code != 503 or pause is None:  # its database is busy
                raise
        time.sleep(pause)
    raise AssertionError


def wait_for(what: Callable[[], Any], *, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.5)
    return found


def environment(**more: str) -> dict[str, str]:
    """Without what another server of these tests has set."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return inherited | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "PYTHONWARNINGS": "ignore",
        **more,
    }


def prefect(*arguments: str) -> str:
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(
        command,
        env=environment(PREFECT_API_URL=API),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(command: list[str], folder: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is interrupted in the end, as by Ctrl-C."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=environment(**more), cwd=folder, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``tubelet ui``: other than the server of the other tests it makes scheduled runs.

    Gives the folder in which its store is.
    """
    folder = tmp_path_factory.mktemp("server")
    often = {  # a minute, and a quarter of one, otherwise
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "1",
    }
    with running([*TUBELET, "ui", "--port", str(PORT)], folder, **often) as process:
        wait_for(lambda: process.poll() is not None or answers())
        assert process.poll() is None, (folder / "log").read_text()
        yield folder
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def answers() -> bool:
    try:
        return call("/health") is True
    except OSError:
        return False
