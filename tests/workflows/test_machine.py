"""Disk, locks, clocks and ports, with real files and real servers."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.store import Store
from workflows import machine
from workflows.machine import (
    find_clock_problems,
    find_server_problems,
    find_store_problems,
    locks_work,
)


def test_a_good_store(tmp_path: Path) -> None:
    assert list(find_store_problems(tmp_path / "store")) == []
    assert list(find_clock_problems(tmp_path / "store")) == []
    assert locks_work(tmp_path)


class Usage(NamedTuple):
    free: int


def test_little_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: Usage(5 << 20))
    (found,) = find_store_problems(tmp_path / "store")
    assert f"{tmp_path / 'store'} has 5 MiB left: tubelet gc --apply" in found


def test_a_store_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = find_store_problems(tmp_path / "file" / "store")
    assert "cannot be used" in found
    assert list(find_clock_problems(tmp_path / "file" / "store")) == []


def test_locks_that_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.fcntl, "flock", lambda file, how: None)
    (found,) = find_store_problems(tmp_path / "store")
    assert "without working locks" in found


def test_clocks(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    (found,) = find_clock_problems(store.root, now=time.time() - 300)
    assert "300 s ahead of this machine's: set both by NTP" in found
    artifact = store.root / "artifacts" / "slic" / "slic-0"
    artifact.mkdir(parents=True)
    os.utime(artifact, (time.time() + 900, time.time() + 900))
    (found,) = find_clock_problems(store.root)
    assert "1 artifact dated in the future, the first" in found


@contextmanager
def served(answers: dict[str, str], *, date: float | None = None) -> Iterator[int]:
    """A real HTTP server that knows these paths; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in answers else 404)
            self.end_headers()
            self.wfile.write(answers.get(self.path, "").encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() if date is None else date, usegmt=True)

        def log_message(self, *arguments: Any) -> None:
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


PREFECT = {"/api/health": "true", "/api/admin/version": '"3.8.8"'}


@pytest.mark.parametrize(
    ("answers", "shift", "said"),
    [
        (PREFECT, 0, None),
        (PREFECT | {"/api/admin/version": '"2.20.1"'}, 0, "is 2.20.1, older than this client's"),
        (PREFECT, -7200, "720. s behind this machine's, so schedules fire at the wrong time"),
        ({"/": "hello"}, 0, "something that is no Prefect server answers: start the server"),
    ],
)
def test_the_configured_server(answers: dict[str, str], shift: float, said: str | None) -> None:
    import re

    with served(answers, date=time.time() + shift) as port:
        found = list(find_server_problems(f"http://127.0.0.1:{port}/api", 4200))
    assert len(found) == (said is not None)
    assert said is None or re.search(said, found[0])


def test_our_port() -> None:
    with served({"/": "hello"}) as port:
        (found,) = find_server_problems(None, port)
        assert f"port {port} is used by " in found
        assert f"(process {os.getpid()})" in found
        assert found.endswith(f"tubelet ui --port {port + 1}")
    assert list(find_server_problems(None, port)) == []
    (found,) = find_server_problems(f"http://127.0.0.1:{port}/api", 4200)
    assert "where nothing answers" in found
    with served(PREFECT) as port:
        assert list(find_server_problems(None, port)) == []
