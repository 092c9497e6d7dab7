"""Run one node: lock its key, start a child, watch its journal, commit.

The child may die or hang at any item. The item it was working on is tried once more in a
fresh child (the kill may have come from outside); if it does it again, it is quarantined
with its cause and the rest of the part goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.expand import Node, locations
from pipeline.journal import Journal, JournalReader
from pipeline.keys import parameters_of
from pipeline.processes import Stop
from pipeline.provenance import code_version, library_versions
from pipeline.source import Source
from pipeline.stage import VideoStage
from pipeline.store import Store, describe_files, raise_if_full
from pipeline.supervise import Event, Options, Status, Watch, follow, run_child
from storage_schemas import errors
from storage_schemas.errors import StageFailed, TubeletError
from storage_schemas.labels import Labels
from storage_schemas.manifest import Manifest, QuarantineRow
from storage_schemas.videos import VideoFile

ATTEMPTS = 2  # how often a video may kill its process before it is quarantined


def _ignore(event: Event) -> None:
    return None


def execute(
    node: Node,
    store: Store,
    options: Options,
    *,
    force: bool = False,
    on_event: Callable[[Event], None] = _ignore,
    stop: Stop | None = None,
    seed: Callable[[Path], None] | None = None,
    before_commit: Callable[[Manifest], Manifest] = lambda manifest: manifest,
) -> tuple[Status, Manifest]:
    """Make sure that the store holds the node's artifact; inputs must be there already.

    Setting `stop`, from outside, ends the child and raises `Interrupted`. With the
    lock held, `seed` may fill the empty staging folder of a forced computation, and
    `before_commit` change the manifest before an artifact is replaced.

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
    lock.stop = stop
    try:
        with lock:
            manifest = None if force else store.manifest(node.key)
            if manifest is not None:
                on_event(Event("ended", node, status="cached"))
                return "cached", manifest
            if force:
                shutil.rmtree(store.root / "staging" / node.key, ignore_errors=True)
            staging = store.staging(node.key)
            if seed is not None:
                seed(staging)
            if node.literal is not None:
                manifest = _write_literal(node, staging)
            else:
                manifest = _compute(node, store, staging, options, lock.descriptor, on_event, stop)
            manifest = before_commit(manifest)
            kept = store.commit(node.key, staging / "data", manifest, replace=force)
            status: Status = "computed" if kept is manifest else "cached"
            on_event(Event("ended", node, status=status))
            return status, kept
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
    stop: Stop | None,
) -> Manifest:
    items = items_of(node, store)
    watch = Watch()
    reader = JournalReader(staging / "journal.jsonl")
    follow(reader, watch, None)  # what an interrupted run has rejected stays rejected
    job = {
        "label": node.label,
        "store": store.location,
        "stage": {
            "class": f"{type(node.stage).__module__}:{type(node.stage).__qualname__}",
            "parameters": node.stage.model_dump(mode="json"),
        },
        "inputs": node.input_keys(),
        "items": items,
        "done": (done := store.finished(node.key) + len(watch.rejected)),
        "locations": _locations(node, store),
        "threads": options.threads,
        "device": options.device,
        "loader_workers": options.loader_workers,
        "parent": os.getpid(),
    }
    (staging / "job.json").write_text(json.dumps(job))
    on_event(Event("started", node, total=len(items), done=done))
    while True:
        watch.current = watch.abort = watch.end = None
        cause = run_child(node, staging, options, lock, reader, watch, on_event, stop)
        if watch.end is not None:
            break
        if watch.abort is not None:
            raise _error_of(watch.abort)
        if watch.current is None:
            # Killed while it started or assembled: nobody's fault, once.
            watch.crashes[""] = watch.crashes.get("", 0) + 1
            if watch.crashes[""] < ATTEMPTS:
                continue
            raise StageFailed(
                f"the process of this stage {cause} outside of any video, {ATTEMPTS} times; "
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


def items_of(node: Node, store: Store) -> list[str]:
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


def _count_crash(node: Node, path: Path, watch: Watch, video_id: str, cause: str) -> None:
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
        code=code_version(),
    )
