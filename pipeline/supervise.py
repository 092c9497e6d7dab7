"""Run a node's child process and follow its journal until it ends, hangs or is stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.expand import Node
from pipeline.journal import JournalReader
from pipeline.processes import Stop
from pipeline.stage import VideoStage
from storage_schemas.errors import Interrupted
from storage_schemas.manifest import QuarantineRow

Status = Literal["cached", "computed", "failed", "blocked"]
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Event:
    """Something a person watching wants to know.

    ``kind`` is ``waiting`` (another run holds the key), ``started`` (with ``total`` and,
    after an interrupt, what is ``done``), ``item`` (one more video done or rejected),
    ``progress`` (with ``fraction``), ``figures`` (a row of a table: its name is ``text``) or
    ``ended`` (with ``status``).
    """

    kind: Literal["waiting", "started", "item", "progress", "figures", "ended"]
    node: Node
    total: int = 0
    done: int = 0
    fraction: float = 0.0
    text: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
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
    loader_workers : int or None
        Processes that make training views, for each device; None chooses by the device.
    item_timeout_seconds : float
        Longest time without news from a child before it counts as hanging on its video.
    max_failed_fraction : float
        Share of the videos that may be quarantined before the run fails at its end.
    """

    workers: int = max(1, os.cpu_count() or 1)
    threads: int = 1
    device: str = "auto"
    loader_workers: int | None = None
    item_timeout_seconds: float = 600.0
    max_failed_fraction: float = 0.1


@dataclass
class Watch:
    """What the parent knows of a child's work."""

    current: str | None = None
    seconds: float = 0.0
    abort: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    rejected: dict[str, QuarantineRow] = field(default_factory=dict)
    crashes: dict[str, int] = field(default_factory=dict)


def run_child(
    node: Node,
    staging: Path,
    options: Options,
    lock: int,
    reader: JournalReader,
    watch: Watch,
    on_event: Callable[[Event], None],
    stop: Stop | None,
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
            if follow(reader, watch, lambda event: tell(node, event, on_event)):
                heard = time.monotonic()
            elif per_video and time.monotonic() - heard > options.item_timeout_seconds:
                hung = True
                _kill(child)
    except BaseException:
        _kill(child)
        raise
    follow(reader, watch, lambda event: tell(node, event, on_event))
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


def follow(
    reader: JournalReader, watch: Watch, hear: Callable[[Mapping[str, Any]], None] | None
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
        if hear is not None:
            hear(event)
    return bool(events)


def tell(node: Node, event: Mapping[str, Any], on_event: Callable[[Event], None]) -> None:
    """Make an `Event` of a line of the journal, if it is one that people want to know."""
    if event["event"] in ("done", "rejected"):
        message = event.get("message", "")
        on_event(Event("item", node, text=message and f"{event['video_id']}: {message}"))
    elif event["event"] == "progress":
        on_event(Event("progress", node, fraction=event["fraction"], text=event["text"]))
    elif event["event"] == "figures":
        on_event(Event("figures", node, text=event["name"], figures=event["values"]))
