"""The commands ``quarantine list|retry|allow|export``: rejected videos, and what to do."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.allowed import Rejected, allow, find_rejected, read_allowed
from pipeline.documents import write_atomically
from pipeline.expand import Node
from pipeline.records import find_record, records
from pipeline.store import Store, open_store
from pipeline.supervise import Options
from pipeline.wording import counted, suggest
from storage_schemas.errors import ParameterError
from workflows import display, options
from workflows.options import Recipe, StoreDir, console
from workflows.runs import find_run
from workflows.session import DEFAULT_STORE, Request, open_graph
from workflows.upkeep import command_of

quarantine_app = typer.Typer(no_args_is_help=True, help="Videos that were rejected, and why.")
Of = Annotated[str | None, typer.Argument(metavar="RUN", help="Only this run; default: all.")]


@quarantine_app.command("list")
def list_(run: Of = None, store: StoreDir = DEFAULT_STORE) -> None:
    """Rejected videos with their causes."""
    opened = open_store(store)
    found = _rejected(opened, run)
    if found:
        display.print_quarantine(console, [one.row for one in found])
    allowed = read_allowed(opened)
    for video_id in sorted({one.row.video_id for one in found} & set(allowed)):
        console.print(f"allowed: {video_id}: {allowed[video_id]}", markup=False, highlight=False)
    console.print(f"{len(found)} quarantined")


@quarantine_app.command("allow")
def allow_(
    video_ids: Annotated[list[str], typer.Argument(metavar="VIDEO_ID")],
    reason: Annotated[str, typer.Option(help="Why they may be missing.")] = "accepted",
    remove: Annotated[bool, typer.Option("--remove", help="Allow them no longer.")] = False,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Accept rejected videos: they no longer count against --max-failed-fraction."""
    opened = open_store(store)
    allow(opened, video_ids, reason=None if remove else reason)
    console.print(f"{counted(len(read_allowed(opened)), 'video')} may be missing")


@quarantine_app.command("export")
def export_(
    to: Annotated[Path, typer.Argument(metavar="FILE.csv|FILE.json")],
    run: Of = None,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Write rejected videos with their causes, for a spreadsheet or a program."""
    opened = open_store(store)
    allowed = read_allowed(opened)
    rows = [
        {**vars(one.row), "part": one.part, "key": one.key, "allowed": allowed.get(video_id, "")}
        for one in _rejected(opened, run)
        for video_id in [one.row.video_id]
    ]
    if to.suffix == ".json":
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    elif to.suffix == ".csv":
        names = ["video_id", "stage", "error", "message", "frames_got", "frames_expected"]
        file = io.StringIO(newline="")
        writer = csv.DictWriter(file, [*names, "part", "key", "allowed"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = file.getvalue()
    else:
        raise ParameterError(f"{to} is neither .csv nor .json; name the file so")
    to.absolute().parent.mkdir(parents=True, exist_ok=True)
    write_atomically(to.absolute(), text)
    written = f"{counted(len(rows), 'row')}: {to}"
    console.print(written, markup=False, highlight=False, soft_wrap=True)


@quarantine_app.command("retry")
def retry_(
    recipe: Recipe,
    video_ids: Annotated[
        list[str] | None, typer.Argument(metavar="VIDEO_ID", help="Default: all.")
    ] = None,
    store: StoreDir = DEFAULT_STORE,
    threads: options.Threads = Options.threads,
    device: options.Device = Options.device,
    item_timeout: options.ItemTimeout = Options.item_timeout_seconds,
) -> None:
    """Try the rejected videos of a recipe's last run again; the others are kept.

    Parts with a named video are tried as a whole. What rests on a part that gained a video
    is removed, and computed again by the run that is named at the end.
    """
    from pipeline.retry import retry

    opened = open_store(store)
    record = find_record(opened, recipe)
    if record is None:
        hint = suggest(recipe, [one.name for one in records(opened)])
        raise ParameterError(f"{recipe!r} has not been run here; {hint}")
    graph = open_graph(Request(recipe, record.settings), opened)
    nodes = _to_retry({node.key: node for node in graph.nodes}, opened, video_ids or [])
    how = Options(threads=threads, device=device, item_timeout_seconds=item_timeout)
    recovered, still, seconds, discarded = 0, 0, 0.0, 0
    with display.watching(console) as watcher:
        for node in nodes:
            if opened.manifest(node.key) is None:
                continue  # rested on one that was tried before it
            result = retry(node, opened, how, on_event=watcher)
            for video_id in result.recovered:
                console.print(f"recovered: {video_id}", markup=False, highlight=False)
            recovered += len(result.recovered)
            still += len(result.still)
            discarded += len(result.discarded)
            seconds += sum(manifest.seconds for manifest in result.discarded)
    console.print(f"{recovered} recovered, {still} still quarantined")
    if discarded:
        console.print(
            f"removed {counted(discarded, 'artifact')} ({display.human_seconds(seconds)} of work) "
            f"that rested on parts that changed; this computes them again:\n"
            f"{command_of(record, opened)}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def _to_retry(nodes: dict[str, Node], store: Store, video_ids: list[str]) -> list[Node]:
    found = find_rejected(store, nodes)
    known = {one.row.video_id for one in found}
    for video_id in video_ids:
        if video_id not in known:
            hint = suggest(video_id, sorted(known), listed=5)
            raise ParameterError(f"{video_id!r} is not quarantined in the last run; {hint}")
    wanted = {one.key for one in found if not video_ids or one.row.video_id in video_ids}
    return [node for key, node in nodes.items() if key in wanted]


def _rejected(store: Store, run: str | None) -> list[Rejected]:
    keys = list(store.keys()) if run is None else find_run(store, run).keys()
    return find_rejected(store, keys)
