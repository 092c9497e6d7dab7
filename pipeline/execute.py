"""Run one node: lock its key, start a child, watch its journal, commit.

The child may die or hang at any item. The item it was working on is tried once more in a
fresh child (the kill may have come from outside); if it does it again, it is quarantined
with its cause and the rest of the part goes on.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pipeline.expand import Node, locations
from pipeline.journal import Journal, JournalReader
from pipeline.keys import parameters_of
from pipeline.source import Source
from pipeline.stage import VideoStage
from pipeline.store import Store, describe_files, raise_if_full
from storage_schemas import errors
from storage_schemas.errors import Interrupted, StageFailed, TubeletError
from storage_schemas.labels import Labels
from storage_schemas.manifest import Manifest, QuarantineRow
from storage_schemas.videos import VideoFile

ATTEMPTS = 2  # how often a video may kill its process before it is quarantined
_POLL_SECONDS = 0.1
_LIBRARIES = (
    "tubelet", "numpy", "pyarrow", "h5py", "av", "opencv-contrib-python-headless",
    "scikit-image", "scipy", "scikit-learn", "torch",
)  # fmt: skip

Status = Literal["cached", "computed", "failed", "blocked"]


@dataclass(frozen=True)
class Event:
    """Something a person watching wants to know.

    ``kind`` is ``waiting`` (another run holds the key), ``started`` (with ``total``),
    ``item`` (one more video done or rejected), ``progress`` (with ``fraction``) or
    ``ended`` (with ``status``).
    """

    kind: Literal["waiting", "started", "item", "progress", "ended"]
    node: Node
    total: int = 0
    fraction: float = 0.0
    text: str = ""
    status: Status = "computed"


@dataclass(frozen=True)
class Options:
    """How to run, never what to compute.

    Parameters
    ----------
    workers : int
        Nodes that run at the same time.
    threads : int
        CPU threads of each node's process.
    device : str
        Torch device, or ``auto``.
    item_timeout_seconds : float
        Longest time without news from a child before it counts as hanging on its video.
    max_failed_fraction : float
        Share of the videos that may be quarantined before the run fails at its end.
    """

    workers: int = max(1, os.cpu_count() or 1)
    threads: int = 1
    device: str = "auto"
    item_timeout_seconds: float = 600.0
    max_failed_fraction: float = 0.1


def _ignore(event: Event) -> None:
    return None


@dataclass
class _Watch:
    """What the parent knows of a child's work."""

    current: str | None = None
    seconds: float = 0.0
    abort: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    rejected: dict[str, QuarantineRow] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)


def execute(
    node: Node,
    store: Store,
    options: Options,
    *,
    force: bool = False,
    on_event: Callable[[Event], None] = _ignore,
    stop: threading.Event | None = None,
) -> tuple[Status, Manifest]:
    """Make sure that the store holds the node's artifact; inputs must be there already.

    Setting `stop`, from another thread, ends the child and raises `Interrupted`.

    Returns
    -------
    status, manifest
        ``cached`` if it was there (or another run made it meanwhile), else ``computed``.

    Raises
    ------
    TubeletError
        With the stage and part it happened in. Finished videos are kept for the next run.
    """
    lock = store.lock(node.key)
    lock.on_wait = lambda: on_event(Event("waiting", node))
    try:
        with lock:
            manifest = None if force else store.manifest(node.key)
            if manifest is not None:
                on_event(Event("ended", node, status="cached"))
                return "cached", manifest
            if force:
                shutil.rmtree(store.root / "staging" / node.key, ignore_errors=True)
            staging = store.staging(node.key)
            if node.literal is not None:
                manifest = _write_literal(node, staging)
            else:
                manifest = _compute(node, store, staging, options, lock.descriptor, on_event, stop)
            store.commit(node.key, staging / "data", manifest)
            on_event(Event("ended", node, status="computed"))
            return "computed", manifest
    except (TubeletError, OSError) as caught:
        if not isinstance(caught, TubeletError):
            raise_if_full(caught, store.root)
            error: TubeletError = StageFailed(f"{type(caught).__name__}: {caught}")
        else:
            error = caught
        error.stage = error.stage or node.step
        error.part = error.part or node.part
        on_event(Event("ended", node, status="failed", text=str(error)))
        raise error from caught


def _write_literal(node: Node, staging: Path) -> Manifest:
    data = staging / "data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir()
    if isinstance(node.literal, Labels):
        node.literal.write(data)
        return _manifest(node, data, items=[], rows={"labels.arrow": len(node.literal.rows)})
    assert node.literal is not None
    tables = {video.video_id: video.to_tables() for video in node.literal}
    rows = VideoFile.write_part(data, tables)
    return _manifest(node, data, items=list(tables), rows=rows)


def _compute(
    node: Node,
    store: Store,
    staging: Path,
    options: Options,
    lock: int,
    on_event: Callable[[Event], None],
    stop: threading.Event | None,
) -> Manifest:
    items = _items(node, store)
    watch = _Watch()
    reader = JournalReader(staging / "journal.jsonl")
    _follow(reader, watch, None)  # what an interrupted run has rejected stays rejected
    job = {
        "label": node.label,
        "store": str(store.root),
        "stage": {
            "class": f"{type(node.stage).__module__}:{type(node.stage).__qualname__}",
            "parameters": node.stage.model_dump(mode="json"),
        },
        "inputs": node.input_keys(),
        "items": items,
        "locations": _locations(node, store),
        "threads": options.threads,
        "device": options.device,
        "parent": os.getpid(),
    }
    (staging / "job.json").write_text(json.dumps(job))
    on_event(Event("started", node, total=len(items)))
    while True:
        watch.current = watch.abort = watch.end = None
        cause = _run_child(node, staging, options, lock, reader, watch, on_event, stop)
        if watch.end is not None:
            break
        if watch.abort is not None:
            raise _error_of(watch.abort)
        if watch.current is None:
            raise StageFailed(
                f"the process of this stage {cause} outside of any video; "
                f"its journal is {reader.path}. Run the same command again to resume"
            )
        _count_crash(node, reader.path, watch, watch.current, cause)
    rows = watch.end["rows"]
    kept = [video_id for video_id in items if video_id not in watch.rejected]
    quarantined = [watch.rejected[v] for v in items if v in watch.rejected]
    return _manifest(
        node,
        staging / "data",
        items=kept,
        rows=rows,
        quarantined=quarantined,
        seconds=watch.seconds,
    )


def _items(node: Node, store: Store) -> list[str]:
    """Videos that every input really has, in the order of the first."""
    if not isinstance(node.stage, VideoStage):
        return []
    listed = [store.read_manifest(nodes[0].key).items for nodes in node.inputs.values()]
    rest = [set(items) for items in listed[1:]]
    return [video_id for video_id in listed[0] if all(video_id in items for items in rest)]


def _locations(node: Node, store: Store) -> dict[str, str]:
    found: dict[str, str] = {}
    for upstream in (n for nodes in node.inputs.values() for n in nodes):
        if isinstance(upstream.stage, Source):
            folders = {n.key: store.folder(n.key) for ns in upstream.inputs.values() for n in ns}
            found |= {v: str(path) for v, path in locations(upstream, folders).items()}
    return found


def _run_child(
    node: Node,
    staging: Path,
    options: Options,
    lock: int,
    reader: JournalReader,
    watch: _Watch,
    on_event: Callable[[Event], None],
    stop: threading.Event | None,
) -> str:
    """Run the child to its end; returns how it ended, in words."""
    threads = str(options.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENCV_FOR_THREADS_NUM": threads,
    }
    log_path = staging / "child.log"
    with log_path.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipeline.child", str(staging)],
            env=environment,
            pass_fds=(lock,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that Ctrl-C reaches us first, and kills are ours
        )
    heard = time.monotonic()
    hung = False
    per_video = isinstance(node.stage, VideoStage)
    try:
        while child.poll() is None:
            time.sleep(_POLL_SECONDS)
            if stop is not None and stop.is_set():
                raise Interrupted("interrupted; run the same command again to resume")
            if _follow(reader, watch, lambda event: _tell(node, event, on_event)):
                heard = time.monotonic()
            elif per_video and time.monotonic() - heard > options.item_timeout_seconds:
                hung = True
                _kill(child)
    except BaseException:
        _kill(child)
        raise
    _follow(reader, watch, lambda event: _tell(node, event, on_event))
    if hung:
        return f"gave no news for {options.item_timeout_seconds:g} s and was ended"
    if child.returncode < 0:
        return f"was killed by {signal.Signals(-child.returncode).name}"
    tail = log_path.read_text(errors="replace").strip()[-2000:]
    return f"ended with status {child.returncode}" + (f": {tail}" if tail else "")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and the processes it started (a trainer's workers)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _follow(
    reader: JournalReader, watch: _Watch, tell: Callable[[Mapping[str, Any]], None] | None
) -> bool:
    """Take in new journal events; True if there were any."""
    events = reader.read()
    for event in events:
        kind = event["event"]
        if kind == "start":
            watch.current = event["video_id"]
        elif kind == "rejected":
            watch.current = None
            watch.rejected[event["video_id"]] = QuarantineRow(
                video_id=event["video_id"],
                stage="",
                error=event["error"],
                message=event["message"],
                frames_got=event.get("frames_got"),
                frames_expected=event.get("frames_expected"),
            )
            watch.seconds += event.get("seconds", 0.0)
        elif kind == "done":
            watch.current = None
            watch.seconds += event["seconds"]
        elif kind == "abort":
            watch.abort = event
        elif kind == "end":
            watch.end = event
            watch.seconds = max(watch.seconds, event["seconds"])
        if tell is not None:
            tell(event)
    return bool(events)


def _tell(node: Node, event: Mapping[str, Any], on_event: Callable[[Event], None]) -> None:
    if event["event"] in ("done", "rejected"):
        on_event(Event("item", node, text=event.get("message", "")))
    elif event["event"] == "progress":
        on_event(Event("progress", node, fraction=event["fraction"], text=event["text"]))


def _count_crash(node: Node, path: Path, watch: _Watch, video_id: str, cause: str) -> None:
    watch.crashes[video_id] = watch.crashes.get(video_id, 0) + 1
    if watch.crashes[video_id] < ATTEMPTS:
        return
    message = (
        f"its process {cause}, {ATTEMPTS} times; the file is left out. Check it with "
        f"another decoder, or raise --item-timeout if it is only slow"
    )
    journal = Journal(path)
    journal.write("rejected", video_id=video_id, error="ItemCrash", message=message)
    journal.close()


def _error_of(abort: Mapping[str, Any]) -> TubeletError:
    kind = getattr(errors, abort["error"], StageFailed)
    error: TubeletError = kind(abort["message"], video_id=abort.get("video_id"))
    return error


def _manifest(
    node: Node,
    data: Path,
    *,
    items: list[str],
    rows: dict[str, int],
    quarantined: list[QuarantineRow] | None = None,
    seconds: float = 0.0,
) -> Manifest:
    return Manifest(
        key=node.key,
        stage=node.stage.name,
        stage_version=node.stage.version,
        step=node.step,
        noun=node.stage.output.name,
        noun_version=node.stage.output.version,
        parameters=parameters_of(node.stage),
        inputs=node.input_keys(),
        part=node.part,
        items=items,
        files=describe_files(data, rows),
        quarantined=[replace(row, stage=node.step) for row in quarantined or []],
        seconds=round(seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        libraries=library_versions(),
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change a result."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
