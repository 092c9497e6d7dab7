"""Settings of Prefect, made before it is imported: offline, quiet, beside the store.

``PREFECT_API_URL`` chooses a server. Without it an embedded one (SQLite in
``<store>/prefect``) starts for the run; its runs stay visible with ``tubelet ui``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipeline.store import Store
from storage_schemas.errors import StoreError, TubeletError
from workflows.dead_runs import mark_dead_runs, noted_runs
from workflows.options import console
from workflows.settle import SETTINGS, send_events, settle

PORT = 4200
_START_SECONDS = 300


def prepare(store: Store) -> None:
    """Set the environment; what the user has set already stays."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_HOME": str(store.root / "prefect"),
        # In memory, its default, a server that ends forgets who holds a slot, and nobody ever
        # frees it.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_CLI_PROMPT": "false",
        **SETTINGS,
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def describe() -> str:
    """Which server a run reports to."""
    url = os.environ.get("PREFECT_API_URL")
    return f"server {url}" if url else "embedded server (the first start takes half a minute)"


def report_url(key: str) -> str:
    """Where the report of an artifact is served: ``TUBELET_REPORT_URL``, or this machine."""
    base = os.environ.get("TUBELET_REPORT_URL", f"http://127.0.0.1:{PORT + 1}")
    return f"{base.rstrip('/')}/{key}/report.html"


@contextmanager
def started(store: Store, port: int) -> Iterator[str]:
    """A server with its UI on this machine, and one for reports on the next port.

    Gives the address of the API and sets ``PREFECT_API_URL``; where that is set already, the
    server it names is used and none is started.

    Raises
    ------
    TubeletError
        If the port is taken, or the server does not answer.
    """
    os.environ.setdefault("TUBELET_REPORT_URL", f"http://127.0.0.1:{port + 1}")
    with _reports(store, port + 1), _given_or_own(store, lambda: port) as url:
        yield url


def announce(url: str) -> None:
    """Tell where the pages of the server `started` lie."""
    base = os.environ["TUBELET_REPORT_URL"]
    console.print(f"Prefect UI at {url.removesuffix('/api')} (Ctrl-C ends it)", highlight=False)
    console.print(f"reports at {base}/KEY/report.html", highlight=False)


@contextmanager
def embedded(store: Store) -> Iterator[str]:
    """The server of one run: that of ``PREFECT_API_URL``, or one that ends with the run.

    Unlike Prefect's own ephemeral server it outlives a Ctrl-C, so that the run can tell it
    how it ended, and not the kill of its parent.
    """
    with _given_or_own(store, _free_port) as url:
        yield url


@contextmanager
def _given_or_own(store: Store, choose_port: Callable[[], int]) -> Iterator[str]:
    prepare(store)
    given = os.environ.get("PREFECT_API_URL")
    with nullcontext(given) if given else _server(choose_port()) as url:
        for name in mark_dead_runs(store):
            told = f"{name} was killed; Prefect shows it as crashed now"
            console.print(told, markup=False, highlight=False, soft_wrap=True)
        yield url


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _server(port: int) -> Iterator[str]:
    url = f"http://127.0.0.1:{port}/api"
    process = _start(url, port)
    try:
        os.environ["PREFECT_API_URL"] = url
        yield url
        settle(noted_runs())
    finally:
        try:
            send_events()
        finally:
            del os.environ["PREFECT_API_URL"]
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()


# Before anything slow is imported, so that a parent that is killed leaves no server behind.
_SERVER = """
import runpy, sys
from pipeline.processes import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
runpy.run_module("prefect", run_name="__main__", alter_sys=True)
"""


def _start(url: str, port: int) -> subprocess.Popen[bytes]:
    if _answers(url):
        raise TubeletError(
            f"port {port} is taken by a Prefect server; use it with PREFECT_API_URL={url}, or "
            "choose another with --port"
        )
    environment = os.environ | {
        # With another port than 4200 the UI would call the wrong one.
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_LOGGING_LEVEL": "WARNING",
    }
    command = [sys.executable, "-c", _SERVER, str(os.getpid()), "server", "start"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; the server ends when we say so
    )
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None:
            raise TubeletError(
                f"the Prefect server ended as it started (exit status {process.returncode}), for "
                "the cause above: with PREFECT_SERVER_DATABASE_CONNECTION_URL look at the "
                f"database and its password, if port {port} is taken choose another with --port"
            )
        if time.monotonic() > deadline:
            process.kill()
            raise TubeletError(
                f"the Prefect server at port {port} did not answer within {_START_SECONDS} s; is "
                "this machine overloaded, or its database out of reach?"
            )
        time.sleep(0.5)
    return process


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class _ReportFiles(SimpleHTTPRequestHandler):
    """Files of report artifacts, ``/KEY/NAME``, and nothing else of the store."""

    def __init__(self, *given: Any, store: Store) -> None:
        self._store = store
        super().__init__(*given, directory=os.devnull)

    def translate_path(self, path: str) -> str:
        key, _, name = urllib.parse.unquote(path.partition("?")[0]).strip("/").partition("/")
        with contextlib.suppress(StoreError):
            if key.startswith("report-") and name in self._store.read_manifest(key).files:
                return str(self._store.file(key, name))
        return f"{os.devnull}/none"

    def list_directory(self, path: object) -> None:
        self.send_error(404, "no such report")

    def log_message(self, format: str, *args: object) -> None:
        return None


@contextmanager
def _reports(store: Store, port: int) -> Iterator[None]:
    handler = partial(_ReportFiles, store=store)
    try:
        files = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise TubeletError(
            f"port {port}, where reports are served, cannot be opened ({error.strerror}); choose "
            "another pair with --port"
        ) from error
    threading.Thread(target=files.serve_forever, name="reports", daemon=True).start()
    try:
        yield
    finally:
        files.shutdown()
        files.server_close()
