"""What ``doctor`` looks at on the machine: the store's disk and locks, clocks, the server."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import psutil
from packaging.version import Version

from pipeline.store import open_store
from pipeline.wording import counted
from storage_schemas.errors import MissingDependency, StoreError

_LEAST_BYTES, _LEAST_FILES = 2**30, 10_000
_SKEW_SECONDS = 60.0
_WAIT_SECONDS = 3.0


def find_store_problems(store: str | Path) -> Iterator[str]:
    """Whether the store can be used: space, number of files, locks; of a bucket, its scratch."""
    try:
        opened = open_store(store)
    except (StoreError, MissingDependency) as error:
        yield str(error)
        return
    remote = "://" in opened.location
    other = "another TUBELET_SCRATCH" if remote else "another --store DIR"
    free = shutil.disk_usage(opened.root).free
    if free < _LEAST_BYTES:
        yield (f"{opened.root} has {free >> 20} MiB left: tubelet gc --apply, or {other}")
    state = os.statvfs(opened.root)
    if state.f_files and state.f_favail < _LEAST_FILES:
        yield (
            f"{opened.root} can take {state.f_favail} more files (inodes): remove some, or choose "
            f"{other}"
        )
    if not opened.creates_once():
        yield (
            f"the service of {opened.location} ignores If-None-Match, so two machines could "
            "overwrite each other's artifacts: use one that has conditional writes"
        )
    if not locks_work(opened.root / "locks"):
        yield (
            f"{opened.root} is on a file system without working locks, so two runs would compute "
            f"the same at once: mount it with locks (NFS 4, local_lock=none), or choose {other}"
        )


def locks_work(folder: Path) -> bool:
    """Whether a second holder is kept away from a lock."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        again = os.open(f"/proc/self/fd/{probe.fileno()}", os.O_RDWR)
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(again)
    return False


def find_clock_problems(store: str | Path, *, now: float | None = None) -> Iterator[str]:
    """Whether this machine's clock agrees with the one that dates the store's files.

    Changed videos are recognised by size and time, and estimates take the newest artifacts.
    """
    with contextlib.suppress(StoreError, MissingDependency):
        opened = open_store(store)
        with tempfile.NamedTemporaryFile(dir=opened.root / "locks") as file:
            file.write(b"now")
            file.flush()
            skew = os.fstat(file.fileno()).st_mtime - (time.time() if now is None else now)
        if abs(skew) > _SKEW_SECONDS:
            yield (
                f"the clock of {opened.root} is {_ahead(skew)} this machine's: set both by "
                "NTP (timedatectl set-ntp true)"
            )
        limit = (time.time() if now is None else now) + _SKEW_SECONDS
        late = [
            folder
            for folder in (opened.root / "artifacts").glob("*/*")
            if folder.stat().st_mtime > limit
        ]
        if late and abs(skew) <= _SKEW_SECONDS:
            yield (
                f"{counted(len(late), 'artifact')} dated in the future, the first {late[0]}: a "
                "machine that shares the store has a wrong clock (timedatectl set-ntp true)"
            )


@dataclass(frozen=True)
class _Answer:
    body: str
    date: str | None


def find_server_problems(api_url: str | None, port: int) -> Iterator[str]:
    """Whether the configured Prefect server answers, or else our port is free for one.

    Parameters
    ----------
    api_url : str or None
        ``PREFECT_API_URL``.
    port : int
        Of ``tubelet ui``.
    """
    url = (api_url or f"http://127.0.0.1:{port}/api").rstrip("/")
    health = _get(f"{url}/health")
    if health is not None and health.body.strip() == "true":
        yield from _server_problems(url, health)
    elif api_url is not None:
        said = "nothing" if health is None else "something that is no Prefect server"
        yield (
            f"PREFECT_API_URL is {api_url}, where {said} answers: start the server (tubelet ui "
            "--port PORT), correct the variable, or unset it for an embedded server"
        )
    elif _is_open(port):
        yield (
            f"port {port} is used by {_listener(port) or 'another program'}, which is no Prefect "
            f"server: end it, or use another one: tubelet ui --port {port + 1}"
        )


def _server_problems(url: str, health: _Answer) -> Iterator[str]:
    version = _get(f"{url}/admin/version")
    client = importlib.metadata.version("prefect")
    found = json.loads(version.body) if version is not None else client
    if Version(found).release[:2] < Version(client).release[:2]:
        yield (
            f"the Prefect server at {url} is {found}, older than this client's {client}: pip "
            f"install 'prefect=={client}' where the server runs, and restart it"
        )
    if health.date is not None:
        skew = parsedate_to_datetime(health.date).timestamp() - time.time()
        if abs(skew) > _SKEW_SECONDS:
            yield (
                f"the clock of the Prefect server at {url} is {_ahead(skew)} this machine's, "
                "so schedules fire at the wrong time: set both by NTP (timedatectl set-ntp true)"
            )


def _get(url: str) -> _Answer | None:
    """What an address answers; None if nothing does."""
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_SECONDS) as answer:
            body = answer.read(4096).decode(errors="replace")
            return _Answer(body, answer.headers.get("Date"))
    except urllib.error.HTTPError as error:
        with error:
            return _Answer("", error.headers.get("Date"))
    except (OSError, ValueError):
        return None
    except Exception:  # a program that does not speak HTTP
        return _Answer("", None)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _listener(port: int) -> str | None:
    """Name and number of the process that listens, where we may know it."""
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections(kind="inet"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                return f"{psutil.Process(one.pid).name()} (process {one.pid})"
    return None


def _ahead(skew: float) -> str:
    return f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"
