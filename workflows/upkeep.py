"""The commands ``verify`` and ``gc``: is the store whole, and what may go."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.collect import Garbage, find_garbage, reached, remove, staged
from pipeline.keys import key_of
from pipeline.records import Record, pins, records
from pipeline.store import Store, open_store
from pipeline.wording import counted
from stages.report.report import human_size
from storage_schemas.errors import StoreError
from storage_schemas.labels import Labels
from storage_schemas.videos import VideoFile
from workflows import display
from workflows.options import StoreDir, console
from workflows.runs import find_keys, find_run
from workflows.session import DEFAULT_STORE


def verify(
    what: Annotated[
        str | None, typer.Argument(metavar="KEY|STAGE", help="Default: everything.")
    ] = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Remove what is damaged; the next run remakes it.")
    ] = False,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Compare every file with its digest; exit status 1 if damage is found and remains."""
    opened = open_store(store)
    keys = find_keys(opened, what) if what else list(opened.keys())
    damaged = []
    for key in _progressing(opened, keys):
        problems = find_damage(opened, key)
        for problem in problems:
            where = display.short_path(opened.place(key))
            console.print(f"{where}: {problem}", markup=False, highlight=False, soft_wrap=True)
        if problems:
            damaged.append(key)
    console.print(f"{counted(len(keys), 'artifact')}, {len(damaged)} damaged")
    left = _discard(opened, damaged) if discard else damaged
    if damaged:
        _tell_remedy(opened, damaged, discard)
    if left:
        raise typer.Exit(1)


def find_damage(store: Store, key: str) -> list[str]:
    """What is wrong with an artifact: its manifest, or a file and both digests."""
    try:
        manifest = store.read_manifest(key)
    except StoreError as error:
        return [error.message]
    if manifest.noun not in (VideoFile.name, Labels.name) and key_of(manifest) != key:
        return [f"manifest.json tells of other parameters or inputs, which make {key_of(manifest)}"]
    return store.verify(key)


def _progressing(store: Store, keys: Sequence[str]) -> Iterator[str]:
    """The keys, while a terminal shows how many bytes have been read."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    shown = console.is_terminal
    sizes = {key: _bytes(store, key) if shown else 0 for key in keys}
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown
    ) as bar:
        task = bar.add_task("verify", total=sum(sizes.values()))
        for key in keys:
            bar.update(task, description=key)
            yield key
            bar.advance(task, sizes[key])


def _bytes(store: Store, key: str) -> int:
    try:
        return store.read_manifest(key).bytes
    except StoreError:
        return 0


def _discard(store: Store, damaged: Sequence[str]) -> list[str]:
    """Remove artifacts; those that could not be."""
    left = []
    for key in damaged:
        try:
            with store.lock(key):
                store.discard(key)
        except OSError as error:
            left.append(key)
            said = f"{key} cannot be removed: {error.strerror}"
        else:
            said = f"removed {key}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    return left


def _tell_remedy(store: Store, damaged: Sequence[str], discarded: bool) -> None:
    """The commands of the newest runs that hold what is damaged; together they make all of it."""
    remove = "" if discarded else "`tubelet verify --discard` removes what is damaged; "
    console.print(f"{remove}this computes it again:", soft_wrap=True)
    missing = set(damaged)
    for record in sorted(records(store), key=lambda record: record.created, reverse=True):
        if record.recipe and not missing.isdisjoint(record.keys()):
            missing.difference_update(record.keys())
            command = command_of(record, store)
            console.print(command, markup=False, highlight=False, soft_wrap=True)
    if missing:
        held = f"{counted(len(missing), 'artifact')}, such as {min(missing)}"
        console.print(f"the recipe of {held}, of which no run is recorded here", soft_wrap=True)


def command_of(record: Record, store: Store) -> str:
    """The command line of a run."""
    settings = [word for setting in record.settings for word in ("--set", setting)]
    return shlex.join(["tubelet", "run", record.recipe, *settings, *store_option(store)])


def store_option(store: Store) -> list[str]:
    """The option that names a store, where it is not the default one."""
    defaults = (str(DEFAULT_STORE), os.path.abspath(DEFAULT_STORE))
    return [] if store.location in defaults else ["--store", display.short_path(store.location)]


def gc(
    store: StoreDir = DEFAULT_STORE,
    apply: Annotated[bool, typer.Option("--apply", help="Really remove.")] = False,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="RUN|KEY", help="Keep this, too; repeatable.")
    ] = None,
    each: Annotated[bool, typer.Option("--list", help="A line for each, not each stage.")] = False,
) -> None:
    """Show, or remove, what no recipe's last run and no pinned run rests on."""
    opened = open_store(store)
    extra = [key for name in keep or () for key in find_run(opened, name).keys()]  # noqa: SIM118
    found = find_garbage(opened, keep=extra)
    gone = [garbage for garbage in found if apply and remove(opened, garbage)]
    left = [garbage for garbage in found if garbage not in gone]
    _print_garbage(gone, "removed", each)
    _print_garbage(left, "in use" if apply else "would remove", each)
    live = reached(opened, extra)
    kept = [key for key in opened.keys() if key in live]  # noqa: SIM118
    size = human_size(sum(opened.read_manifest(key).bytes for key in kept))
    pinned = counted(len(pins(opened)), "run")
    console.print(f"kept: {counted(len(kept), 'artifact')}, {size}; {pinned} pinned")
    resumable = {key: n for key, n in staged(opened).items() if key in live}
    if resumable:
        console.print(
            f"kept: unfinished work on {counted(len(resumable), 'artifact')}, "
            f"{human_size(sum(resumable.values()))}; running the same again resumes it"
        )
    total = human_size(sum(garbage.bytes for garbage in found))
    console.print(f"{len(found)} unused, {total}{'' if apply else ' (add --apply)'}")


def _print_garbage(found: Sequence[Garbage], word: str, each: bool) -> None:
    if not found:
        return
    if each:
        for garbage in found:
            console.print(
                f"{word} {garbage.kind} {garbage.key}  {human_size(garbage.bytes)}",
                highlight=False,
                soft_wrap=True,
            )
        return
    rows = []
    groups: dict[tuple[str, str], list[Garbage]] = {}
    for garbage in found:
        groups.setdefault((garbage.kind, garbage.stage), []).append(garbage)
    for (kind, stage), group in sorted(groups.items()):
        size = human_size(sum(garbage.bytes for garbage in group))
        rows.append((kind, stage, str(len(group)), size))
    display.print_table(console, ("", "stage", "number", "size"), rows, title=word)
