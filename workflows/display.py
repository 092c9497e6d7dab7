"""What the command line shows: plans, progress, results."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from pipeline.plan import Entry, Plan
from pipeline.run import Result
from pipeline.store import Store
from pipeline.supervise import Event
from pipeline.wording import counted
from storage_schemas.manifest import QuarantineRow
from storage_schemas.metrics import MetricRow, Metrics, side_by_side
from storage_schemas.report import REPORT_NAME

_SECONDS_BETWEEN_LINES = 5.0
_LEAST_WIDTH = 12  # letters that a cell is folded to
_MAIN = ("top-1", "R@1", "IoU", "BG-gap", "drop")  # numbers that a run ends with


def print_table(
    console: Console,
    names: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    whole: Collection[int] = (0,),
    right: Collection[int] = (),
    title: str | None = None,
) -> None:
    """Print rows in columns, of which nothing is cut.

    Cells are folded where the console is narrow; where that would leave them a few letters,
    lines run on, and it is the terminal that folds them.

    Parameters
    ----------
    console : Console
    names : sequence of str
        Of the columns; no heads are printed if all are empty.
    rows : iterable of sequence of str or Text
        Text in brackets is no markup.
    whole, right : collection of int
        Columns whose cells stay on one line; those that are aligned to the right.
    title : str, optional
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    table = Table(
        box=None, pad_edge=False, show_header=any(names), title=title, title_justify="left"
    )
    widths, least = [], []
    for i, name in enumerate(names):
        widths.append(max(cell.cell_len for cell in [Text(name), *(row[i] for row in cells)]))
        least.append(widths[-1] if i in whole else min(widths[-1], _LEAST_WIDTH))
        justify: Literal["right", "left"] = "right" if i in right else "left"
        table.add_column(Text(name), overflow="fold", min_width=least[-1], justify=justify)
    for row in cells:
        table.add_row(*row)
    between = 2 * (len(names) - 1)
    if sum(least) + between > console.width:
        table.width = sum(widths) + between
    console.print(table, crop=False)


def print_plan(console: Console, plan: Plan) -> None:
    """One line a step: parts cached and to run, and why."""
    for step, notes in plan.graph.notes.items():
        for note in notes:
            console.print(f"{step}: {note}", markup=False, style="yellow")
    rows = []
    for step, entries in _by_step(plan.entries):
        running = [entry for entry in entries if entry.action == "run"]
        reasons = list(dict.fromkeys(entry.reason for entry in running))
        videos = {video_id for entry in entries for video_id in entry.node.video_ids}
        state = "cached" if not running else f"run {len(running)} of {len(entries)}"
        why = "; ".join(reasons[:3]) + ("; …" if len(reasons) > 3 else "")
        shown = Text(state, style="yellow" if running else "green")
        rows.append(
            (step, str(len(entries)), str(len(videos) or ""), shown, _estimate(running), why)
        )
    names = ("step", "parts", "videos", "state", "estimate", "why")
    print_table(console, names, rows, whole=(0, 3))
    total = sum(entry.seconds or 0 for entry in plan.to_run)
    unknown = {entry.node.step: None for entry in plan.to_run if entry.seconds is None}
    estimate = f", about {human_seconds(total)} of work" if total else ""
    if total and unknown:
        estimate += f", not counting {', '.join(unknown)}"
    cached = len(plan.entries) - len(plan.to_run)
    console.print(f"{cached} cached, {len(plan.to_run)} to run{estimate}", highlight=False)


def print_parts(console: Console, plan: Plan) -> None:
    """One line a part: state, videos, key, and why it runs."""
    names = ("step and part", "videos", "state", "estimate", "why", "key")
    rows = [
        (
            entry.node.label,
            str(len(entry.node.video_ids) or ""),
            entry.action,
            _estimate([entry]),
            entry.reason,
            entry.node.key,
        )
        for entry in plan.entries
    ]
    print_table(console, names, rows, whole=(5,))


def _estimate(running: Sequence[Entry]) -> str:
    """What it will take; ``? (was 3 s)`` if it has only run with other parameters."""
    known = [entry.seconds for entry in running if entry.seconds is not None]
    if known:
        return human_seconds(sum(known))
    others = [e.seconds_with_others for e in running if e.seconds_with_others is not None]
    return f"? (was {human_seconds(sum(others))})" if others else ""


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
            self._total[key], self._done[key] = event.total, event.done
            self._spoken[key] = time.monotonic()
            if self._progress:
                self._bars[key] = self._progress.add_task(
                    label, total=event.total or 1.0, completed=event.done, text=""
                )
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
            report = short_path(store.folder(key) / REPORT_NAME)
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
    figures = (*encoders, "videos")
    print_table(
        console,
        ("protocol", "", *figures),
        [
            (protocol, metric, *(values.get(name, "") for name in encoders), str(count))
            for (protocol, metric, count), values in lines.items()
        ],
        whole=range(1, len(figures) + 2),
        right=range(2, len(figures) + 2),
    )
    console.print(
        f"these are the main ones of {len(rows)} numbers: the report and `tubelet metrics STAGE` "
        "have all of them",
        highlight=False,
    )


def print_quarantine(console: Console, rows: Sequence[QuarantineRow]) -> None:
    """Rejected videos with their causes."""
    cells = [(row.video_id, row.stage, row.error, row.message) for row in rows]
    print_table(console, ("video", "stage", "error", "cause"), cells, title="quarantine")


def short_path(path: str | Path) -> str:
    """A path as one would type it here: without the working directory that it lies in."""
    return str(path).removeprefix(f"{Path.cwd()}/")


def human_seconds(seconds: float) -> str:
    """Seconds in a unit people read."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
