"""What the command line shows: plans, progress, results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.plan import Entry, Plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Event
from pipeline.wording import counted
from storage_schemas.manifest import QuarantineRow
from storage_schemas.metrics import MetricRow, Metrics, side_by_side
from storage_schemas.report import REPORT_NAME

_SECONDS_BETWEEN_LINES = 5.0
_MAIN = ("top-1", "R@1", "IoU", "BG-gap", "drop")  # numbers that a run ends with


def print_plan(console: Console, plan: Plan) -> None:
    """One line a step: parts cached and to run, and why."""
    for step, notes in plan.graph.notes.items():
        for note in notes:
            console.print(f"{step}: {note}", markup=False, style="yellow")
    table = Table(box=None, pad_edge=False)
    for name in ("step", "parts", "videos", "state", "estimate", "why"):
        table.add_column(name, overflow="fold")
    for step, entries in _by_step(plan.entries):
        running = [entry for entry in entries if entry.action == "run"]
        reasons = list(dict.fromkeys(entry.reason for entry in running))
        videos = {video_id for entry in entries for video_id in entry.node.video_ids}
        state = "cached" if not running else f"run {len(running)} of {len(entries)}"
        table.add_row(
            step,
            str(len(entries)),
            str(len(videos) or ""),
            f"[green]{state}[/]" if not running else f"[yellow]{state}[/]",
            _estimate(running),
            "; ".join(reasons[:3]) + ("; …" if len(reasons) > 3 else ""),
        )
    console.print(table)
    total = sum(entry.seconds or 0 for entry in plan.to_run)
    unknown = {entry.node.step: None for entry in plan.to_run if entry.seconds is None}
    estimate = f", about {human_seconds(total)} of work" if total else ""
    if total and unknown:
        estimate += f", not counting {', '.join(unknown)}"
    cached = len(plan.entries) - len(plan.to_run)
    console.print(f"{cached} cached, {len(plan.to_run)} to run{estimate}", highlight=False)


def print_parts(console: Console, plan: Plan) -> None:
    """One line a part: state, videos, key, and why it runs."""
    table = Table("step and part", "videos", "state", "estimate", "why", "key", box=None)
    for entry in plan.entries:
        table.add_row(
            entry.node.label,
            str(len(entry.node.video_ids) or ""),
            entry.action,
            _estimate([entry]),
            entry.reason,
            entry.node.key,
        )
    console.print(table)


def _estimate(running: Sequence[Entry]) -> str:
    """What it will take; ``?`` if it has not run with these parameters yet."""
    known = [entry.seconds for entry in running if entry.seconds is not None]
    if known:
        return human_seconds(sum(known))
    others = [e.seconds_with_others for e in running if e.seconds_with_others is not None]
    return f"? ({human_seconds(sum(others))} with other parameters)" if others else ""


def _by_step(entries: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.node.step, []).append(entry)
    yield from grouped.items()


class Watcher:
    """Takes events of a run: progress bars in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console = console
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._spoken: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Show one event; called from the threads that watch the children."""
        label, key = event.node.label, event.node.key
        if event.kind == "started":
            self._total[key], self._done[key] = event.total, 0
            self._spoken[key] = time.monotonic()
            if self._progress:
                self._bars[key] = self._progress.add_task(label, total=event.total or 1.0, text="")
            else:
                self._say(f"{label}: started")
        elif event.kind == "waiting":
            self._say(f"{label}: another run is computing it, waiting")
        elif event.kind == "item":
            self._done[key] = self._done.get(key, 0) + 1
            if event.text:
                self._say(f"{label}: quarantined: {event.text}")
            self._advance(event, self._done[key], f"{self._done[key]}/{self._total.get(key, 0)}")
        elif event.kind == "progress":
            self._advance(event, event.fraction, event.text)
        elif event.kind == "ended":
            bar = self._bars.pop(key, None)
            if self._progress and bar is not None:
                self._progress.remove_task(bar)
            if event.status != "cached":
                detail = f": {event.text}" if event.text else ""
                self._say(f"{label}: {event.status}{detail}")

    def _advance(self, event: Event, completed: float, text: str) -> None:
        key = event.node.key
        if self._progress and key in self._bars:
            self._progress.update(self._bars[key], completed=completed, text=text)
        elif time.monotonic() - self._spoken.get(key, 0) > _SECONDS_BETWEEN_LINES:
            self._spoken[key] = time.monotonic()
            self._say(f"{event.node.label}: {text}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


@contextmanager
def watching(console: Console) -> Iterator[Watcher]:
    """A `Watcher` that suits the console."""
    if not console.is_terminal:
        yield Watcher(console, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Watcher(console, progress)


def print_result(console: Console, result: Result, store: Store) -> None:
    """The main numbers, rejected videos and where the report lies."""
    known = [e.node.key for e in result.plan.entries if e.node.key in result.manifests]
    manifests = {key: result.manifests[key] for key in known}
    rows = [
        row
        for key, manifest in manifests.items()
        if manifest.noun == Metrics.name
        for row in Metrics.open(store.folder(key)).rows
    ]
    if rows:
        print_metrics(console, rows)
    if result.quarantined:
        print_quarantine(console, result.quarantined)
    states = list(result.status.values())
    console.print(
        f"{states.count('computed')} computed, {states.count('cached')} cached, "
        f"{counted(len({row.video_id for row in result.quarantined}), 'video')} quarantined"
    )
    for key, manifest in manifests.items():
        if REPORT_NAME in manifest.files:
            report = store.folder(key) / REPORT_NAME
            console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)


def print_metrics(console: Console, rows: Sequence[MetricRow]) -> None:
    """A line a protocol and main number, the encoders beside each other; of test videos."""
    lines: dict[tuple[str, str, int], dict[str, str]] = {}
    for row in rows:
        if row.metric in _MAIN and row.split != "train":
            name = f"{row.protocol} ({row.preset})" if row.preset else row.protocol
            text = f"{100 * row.value:.1f} %" if row.unit == "share" else f"{row.value:.3g}"
            lines.setdefault((name, row.metric, row.n), {})[row.encoder] = text
    encoders = side_by_side(name for values in lines.values() for name in values)
    table = Table(box=None, pad_edge=False)
    table.add_column("protocol", overflow="fold")
    table.add_column("", no_wrap=True)
    for name in (*encoders, "videos"):
        table.add_column(name, no_wrap=True, justify="right")
    for (protocol, metric, count), values in lines.items():
        table.add_row(protocol, metric, *(values.get(name, "") for name in encoders), str(count))
    console.print(table)
    console.print(
        f"these are the main ones of {len(rows)} numbers: the report and `tubelet metrics STAGE` "
        "have all of them",
        highlight=False,
    )


def print_quarantine(console: Console, rows: Sequence[QuarantineRow]) -> None:
    """Rejected videos with their causes."""
    table = Table("video", "stage", "error", "cause", title="quarantine")
    for row in rows:
        table.add_row(row.video_id, row.stage, row.error, row.message)
    console.print(table)


def human_seconds(seconds: float) -> str:
    """Seconds in a unit people read."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
