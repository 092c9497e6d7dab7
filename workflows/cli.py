"""The ``tubelet`` command. Torch and Prefect are imported only where they are used."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.store import Store, open_store
from pipeline.supervise import Options
from pipeline.wording import counted
from storage_schemas.errors import ParameterError, TubeletError
from workflows import catalogue, display, options, runs, server, upkeep
from workflows.bench import bench_app
from workflows.diff import diff
from workflows.doctor import doctor
from workflows.export import export
from workflows.metrics import metrics
from workflows.options import Data, Force, From, Only, Recipe, Set, StoreDir, console
from workflows.quarantine import quarantine_app
from workflows.runners import Runner
from workflows.serve import serve
from workflows.session import (
    DEFAULT_STORE,
    Request,
    open_graph,
    open_plan,
    run_planned,
    settings_of,
    start,
)
from workflows.sweep import sweep
from workflows.why import why

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From a folder of videos to self-supervised encoders: staged, cached, resumable.",
)


def main() -> None:
    """Entry point: a `TubeletError` becomes one message and exit status 1."""
    try:
        app()
    except TubeletError as error:
        Console(stderr=True).print(
            f"error: {error}", style="bold red", markup=False, soft_wrap=True
        )
        sys.exit(1)


def run(
    recipe: Recipe,
    data: Data = None,
    settings: Set = None,
    only: Only = None,
    from_step: From = None,
    force: Force = None,
    no_prefect: options.NoPrefect = False,
    store: StoreDir = DEFAULT_STORE,
    workers: options.Workers = Options.workers,
    threads: options.Threads = Options.threads,
    device: options.Device = Options.device,
    loader_workers: options.LoaderWorkers = None,
    item_timeout: options.ItemTimeout = Options.item_timeout_seconds,
    max_failed_fraction: options.MaxFailedFraction = Options.max_failed_fraction,
    runner: options.RunnerKind = "threads",
    runner_address: options.RunnerAddress = None,
) -> None:
    """Compute what the store lacks of a recipe: ``tubelet run preprocess --data ~/videos``."""
    where = Runner(runner, runner_address)
    where.check_server(prefect=not no_prefect)
    request = Request(
        recipe, settings or [], data=data, only=only, from_step=from_step, force=force
    )
    opened = open_store(store)
    how = Options(
        workers=workers,
        threads=threads,
        device=device,
        loader_workers=loader_workers,
        item_timeout_seconds=item_timeout,
        max_failed_fraction=max_failed_fraction,
    )
    planned = start(request, opened, on_hashed=_hash_progress())
    display.print_plan(console, planned)
    result = run_planned(
        planned,
        opened,
        how,
        recipe=recipe,
        settings=settings_of(request),
        prefect=not no_prefect,
        runner=where,
    )
    display.print_result(console, result, opened)
    if not no_prefect and "PREFECT_API_URL" not in os.environ:
        console.print(f"Prefect UI: tubelet ui --store {store}", highlight=False)
    result.check(max_failed_fraction)


def plan(
    recipe: Recipe,
    data: Data = None,
    settings: Set = None,
    only: Only = None,
    from_step: From = None,
    force: Force = None,
    parts: Annotated[bool, typer.Option("--parts", help="A line for every part.")] = False,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Say what is cached, what will run, and why."""
    request = Request(
        recipe, settings or [], data=data, only=only, from_step=from_step, force=force
    )
    opened = open_store(store)
    graph = open_graph(request, opened, on_hashed=_hash_progress())
    planned = open_plan(request, opened, graph)
    if parts:
        display.print_parts(console, planned)
    display.print_plan(console, planned)


def _hash_progress() -> Callable[[str, int], None]:
    """Speaks up when a first scan has much to read."""
    seen = {"files": 0, "bytes": 0, "said": 1 << 30}

    def hashed(place: str, size: int) -> None:
        seen["files"] += 1
        seen["bytes"] += size
        if seen["bytes"] >= seen["said"]:
            seen["said"] += 1 << 30
            files = counted(seen["files"], "file")
            console.print(f"reading new videos: {files}, {seen['bytes'] >> 30} GiB")

    return hashed


def show(
    what: options.KeyOrStage,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Write a contact sheet of what was found (JPEG).")
    ] = False,
    video: Annotated[
        str | None,
        typer.Option(metavar="VIDEO_ID", help="Write this video with what was found (MP4)."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE|FOLDER", help="Where to write; default: here.")
    ] = None,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Describe an artifact, list those of a stage, or write pictures of one.

    With both --sheet and --video the sheet
    is of that video. Frames that a stage did not look at show the marks of the last one.
    """
    if sheet or video is not None:
        _write_pictures(open_store(store), what, sheet=sheet, video_id=video, to=to)
        return
    if to is not None:
        raise ParameterError("--to says where a picture goes; add --sheet or --video VIDEO_ID")
    opened = open_store(store)
    keys = runs.find_keys(opened, what)
    if len(keys) > 1 or what == keys[0].rpartition("-")[0]:
        names = ("key", "part", "videos", "quarantined", "size", "created")
        found = [
            (
                m.key, m.part or "", str(len(m.items)), str(len(m.quarantined)),
                f"{m.bytes / 2**20:.1f} MiB", m.created,
            )
            for m in opened.read_manifests(keys)
        ]  # fmt: skip
        display.print_table(console, names, found)
        return
    key = keys[0]
    manifest = opened.read_manifest(key)
    plain = ("key", "stage", "stage_version", "step", "part", "created", "seconds", "host")
    rows = [(name, str(getattr(manifest, name))) for name in plain]
    rows.append(("folder", display.short_path(opened.place(key))))
    rows.append(("videos", str(len(manifest.items))))
    rows += [(f"parameter {name}", str(value)) for name, value in manifest.parameters.items()]
    for name, entry in manifest.files.items():
        of_rows = f", {counted(entry.rows, 'row')}" if entry.rows else ""
        rows.append((f"file {name}", f"{entry.bytes} bytes{of_rows}"))
    display.print_table(console, ("", ""), rows)
    if manifest.quarantined:
        display.print_quarantine(console, manifest.quarantined)


def _write_pictures(
    store: Store, what: str, *, sheet: bool, video_id: str | None, to: Path | None
) -> None:
    from workflows import show as pictures
    from workflows.picture_files import choose_path

    if sheet and video_id is not None and to is not None and not to.is_dir():
        raise ParameterError(f"--sheet and --video write two files; {to} must be a folder for --to")
    stages_by_name = {stage.name: stage for stage in catalogue.find_stages()}
    manifest = pictures.find_artifact(store, what, video_id=video_id)
    part = f" part {manifest.part}" if manifest.part else ""
    console.print(f"{manifest.key}{part}", highlight=False)
    if sheet:
        path = choose_path(manifest, ".jpg", video_id=video_id, to=to)
        note = pictures.write_sheet(store, manifest, stages_by_name, path, video_id=video_id)
        console.print(f"sheet: {path}", soft_wrap=True, highlight=False, markup=False)
        if note:
            console.print(note, highlight=False)
    if video_id is not None:
        path = choose_path(manifest, ".mp4", video_id=video_id, to=to)
        with console.status(escape(f"writing {path}")):
            pictures.write_video(store, manifest, stages_by_name, path, video_id=video_id)
        console.print(f"video: {path}", soft_wrap=True, highlight=False, markup=False)


def ui(
    store: StoreDir = DEFAULT_STORE,
    port: Annotated[int, typer.Option(help="Port of the server.")] = server.PORT,
) -> None:
    """Serve the Prefect UI with the runs of a store, and its reports on the next port."""
    with server.started(open_store(store), port) as url:
        server.announce(url)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


PANELS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "Run": {"run": run, "plan": plan, "sweep": sweep},
    "Look at results": {
        "show": show, "metrics": metrics, "diff": diff, "runs": runs.list_runs, "why": why,
        "export": export,
    },
    "What there is": {
        "recipes": catalogue.list_recipes, "stages": catalogue.list_stages,
        "methods": catalogue.list_methods, "describe": catalogue.describe,
    },
    "Prefect": {"ui": ui, "serve": serve},
    "Care": {
        "verify": upkeep.verify, "gc": upkeep.gc, "pin": runs.pin, "unpin": runs.unpin,
        "doctor": doctor,
    },
}  # fmt: skip
for _panel, _commands in PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)
app.add_typer(bench_app, name="bench", rich_help_panel="Run")
app.add_typer(quarantine_app, name="quarantine", rich_help_panel="Care")
