"""The process that runs one node: ``python -m pipeline.child STAGING``.

It reads ``job.json``, works through the items with a journal, and assembles the data
files; the parent commits them. A crash or hang costs this process only, and one video.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.journal import Journal, JournalReader
from pipeline.pictures import encode_under, stack
from pipeline.processes import die_with_parent
from pipeline.remote import at_hand
from pipeline.stage import Context, GatherStage, Role, Stage, VideoStage
from pipeline.store import Store, open_store, raise_if_full
from pipeline.transient import retrying
from storage_schemas.errors import (
    MissingDependency,
    ParameterError,
    SourceError,
    StoreError,
    TubeletError,
)
from storage_schemas.manifest import PREVIEW_NAME, ArtifactView, Manifest
from storage_schemas.noun import FolderNoun, ItemNoun, Items, Noun
from storage_schemas.tables import write_table
from storage_schemas.videos import VideoFile

PREVIEW_VIDEOS = 3  # as many as keep their text legible in the bytes of a picture
# The fault is ours or the machine's, not the video's: stop, keep what is done.
_NOT_THE_VIDEO = (
    MissingDependency, ParameterError, SourceError, StoreError, MemoryError, ImportError,
)  # fmt: skip

logger = logging.getLogger("tubelet.child")


def main(staging: Path) -> int:
    """Run the job in `staging`; returns the exit status (0, or 3 after an ``abort``)."""
    job = json.loads((staging / "job.json").read_text())
    die_with_parent(job["parent"])
    journal = Journal(staging / "journal.jsonl")
    started = time.monotonic()
    try:
        journal.write("begin", total=len(job["items"]), done=job["done"])
        stage = load_stage(job["stage"])
        store = open_store(job["store"])
        data = staging / "data"
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        context = Context(
            work=_made(staging / "work"),
            threads=job["threads"],
            device=job["device"],
            loader_workers=job["loader_workers"],
            progress=lambda fraction, text: journal.write("progress", fraction=fraction, text=text),
            figures=lambda name, values: journal.write("figures", name=name, values=dict(values)),
        )
        if isinstance(stage, VideoStage):
            rows = _run_videos(stage, job, store, staging, data, journal, context)
        else:
            rows = retrying(
                lambda: _run_gather(stage, job, store, data, context), what=job["label"]
            )
        journal.write("end", rows=rows, seconds=time.monotonic() - started)
    except Exception as error:
        try:
            raise_if_full(error, staging)
        except StoreError as full:
            error = full
        logger.debug("node failed", exc_info=True)
        journal.write(
            "abort",
            error=type(error).__name__,
            message=error.message if isinstance(error, TubeletError) else _describe(error),
            video_id=getattr(error, "video_id", None),
            seconds=time.monotonic() - started,
        )
        if not isinstance(error, TubeletError):
            logger.exception("%s failed", job["label"])
        return 3
    finally:
        journal.close()
    return 0


def load_stage(spec: Mapping[str, Any]) -> Stage:
    """Rebuild a stage from ``{"class": "module:Name", "parameters": {...}}``."""
    module, _, name = spec["class"].partition(":")
    stage: Stage = getattr(importlib.import_module(module), name).model_validate(spec["parameters"])
    return stage


def _run_videos(
    stage: VideoStage,
    job: Mapping[str, Any],
    store: Store,
    staging: Path,
    data: Path,
    journal: Journal,
    context: Context,
) -> dict[str, int]:
    items = _made(staging / "items")
    finished = set(os.listdir(items))
    rejected = {
        event["video_id"]
        for event in JournalReader(journal.path).read()
        if event["event"] == "rejected"
    }
    readers = {
        role: _item_reader(stage.roles[role], store.folders(keys), job["locations"])
        for role, keys in job["inputs"].items()
    }
    extra = {"ctx": context} if _takes_context(stage) else {}
    process = stage.process  # type: ignore[attr-defined]
    for index, video_id in enumerate(job["items"]):
        name = f"{index:05d}"
        if name in finished or video_id in rejected:
            continue
        journal.write("start", video_id=video_id)
        started = time.monotonic()

        def work(fetched: dict[str, Any], video_id: str = video_id, name: str = name) -> None:
            inputs = {role: reader[video_id] for role, reader in readers.items()}
            write_item(stage, items / name, process(**inputs | fetched, **extra))

        try:
            with ExitStack() as stack:
                fetched = {
                    role: stack.enter_context(at_hand(reader[video_id], context.work))
                    for role, reader in readers.items()
                    if isinstance(reader, _LocatedVideos)
                }
                retrying(partial(work, fetched), what=video_id)
        except _NOT_THE_VIDEO:
            raise
        except Exception as error:
            raise_if_full(error, staging)
            logger.debug("video %s rejected", video_id, exc_info=True)
            rejected.add(video_id)
            journal.write(
                "rejected",
                video_id=video_id,
                error=type(error).__name__,
                message=error.message if isinstance(error, TubeletError) else _describe(error),
                frames_got=getattr(error, "frames_got", None),
                frames_expected=getattr(error, "frames_expected", None),
                seconds=time.monotonic() - started,
            )
        else:
            journal.write("done", video_id=video_id, seconds=time.monotonic() - started)
    staged = _StagedItems(
        stage.output,
        {
            video_id: items / f"{index:05d}"
            for index, video_id in enumerate(job["items"])
            if video_id not in rejected
        },
    )
    rows = stage.write_part(data, staged)
    _preview_videos(stage, data, staged, readers)
    return rows


def _run_gather(
    stage: Stage, job: Mapping[str, Any], store: Store, data: Path, context: Context
) -> dict[str, int]:
    assert isinstance(stage, GatherStage)
    inputs = open_inputs(stage, store, job["inputs"], locations=job["locations"])
    extra = {"ctx": context} if _takes_context(stage) else {}
    result = stage.run(**inputs, **extra)  # type: ignore[attr-defined]
    result.write(data)
    _save_preview(data, stage, type(result).open(data), inputs)
    return {}


def open_inputs(
    stage: Stage,
    store: Store,
    keys_by_role: Mapping[str, Sequence[str]],
    *,
    locations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What a gather stage is given, by role; videos lie at their `locations` now."""
    inputs: dict[str, Any] = {}
    for role, keys in keys_by_role.items():
        declared = stage.roles[role]
        if declared.noun is Noun:
            inputs[role] = lineage(store, keys)
        elif declared.many:
            inputs[role] = _item_reader(declared, store.folders(keys), locations or {})
        else:
            assert issubclass(declared.noun, FolderNoun)
            inputs[role] = declared.noun.open(store.folder(keys[0]))
    return inputs


def lineage(store: Store, keys: Sequence[str]) -> list[ArtifactView]:
    """The artifacts and all they rest on, inputs before readers, each once."""
    manifests: dict[str, Manifest] = {}
    level = list(dict.fromkeys(keys))
    while level:  # a level at a time: of a bucket many are read at once
        manifests |= zip(level, store.read_manifests(level), strict=True)
        below = (k for key in level for ks in manifests[key].inputs.values() for k in ks)
        level = [key for key in dict.fromkeys(below) if key not in manifests]
    seen: dict[str, ArtifactView] = {}

    def visit(key: str) -> None:
        if key not in seen:
            for upstream in manifests[key].inputs.values():
                for other in upstream:
                    visit(other)
            seen[key] = store.view(manifests[key])

    for key in keys:
        visit(key)
    return list(seen.values())


class _StagedItems(Mapping[str, Mapping[str, pa.Table]]):
    """Finished videos of a part, read from staging one at a time."""

    def __init__(self, noun: type[Noun], folders: Mapping[str, Path]) -> None:
        assert issubclass(noun, ItemNoun)
        self.noun, self.folders = noun, folders

    def __getitem__(self, video_id: str) -> dict[str, pa.Table]:
        tables = {}
        for stem in self.noun.tables:
            path = str(self.folders[video_id] / f"{stem}.arrow")
            with pa.memory_map(path) as file, pa.ipc.open_file(file) as reader:
                tables[stem] = reader.read_all().replace_schema_metadata(None)
        return tables

    def __iter__(self) -> Iterator[str]:
        return iter(self.folders)

    def __len__(self) -> int:
        return len(self.folders)


class _LocatedVideos(Mapping[str, VideoFile]):
    """Video files of a source part, with the places where they lie now: paths or URLs."""

    def __init__(self, videos: Mapping[str, VideoFile], locations: Mapping[str, str]) -> None:
        self.videos, self.locations = videos, locations

    def __getitem__(self, video_id: str) -> VideoFile:
        video = self.videos[video_id]
        return replace(video, place=self.locations[video_id])

    def __iter__(self) -> Iterator[str]:
        return iter(self.videos)

    def __len__(self) -> int:
        return len(self.videos)


def _item_reader(role: Role, folders: list[Path], locations: Mapping[str, str]) -> Any:
    assert issubclass(role.noun, ItemNoun)
    items: Items[Any] = Items(role.noun, folders)
    return _LocatedVideos(items, locations) if role.noun is VideoFile else items


def write_item(stage: Stage, target: Path, result: Any) -> None:
    """Keep the result of one video in staging; `target` is there when it is whole."""
    if not isinstance(result, stage.output):
        raise TypeError(f"{type(stage).__name__}.process returned {type(result).__name__}")
    assert isinstance(result, ItemNoun)
    temporary = target.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for stem, table in result.to_tables().items():
        write_table(
            temporary / f"{stem}.arrow",
            result.tables[stem],
            [(result.video_id, table)],
            video_ids=[result.video_id],
            noun=f"{result.name}.{stem}",
            version=result.version,
        )
    os.rename(temporary, target)


def _preview_videos(
    stage: VideoStage,
    data: Path,
    staged: _StagedItems,
    readers: Mapping[str, Mapping[str, Any]],
) -> None:
    assert issubclass(stage.output, ItemNoun)
    ids = list(staged)
    chosen = [ids[i * len(ids) // PREVIEW_VIDEOS] for i in range(min(PREVIEW_VIDEOS, len(ids)))]
    part = stage.output.open_part(data)
    pictures = []
    for video_id in dict.fromkeys(chosen):
        try:
            inputs = {role: reader[video_id] for role, reader in readers.items()}
            picture = stage.preview(part[video_id], **inputs)
        except Exception:
            logger.warning("no preview of %s", video_id, exc_info=True)
            continue
        if picture is not None:
            pictures.append(picture)
    if pictures:
        (data / PREVIEW_NAME).write_bytes(encode_under(stack(pictures)))


def _save_preview(data: Path, stage: Stage, output: Any, inputs: Mapping[str, Any]) -> None:
    try:
        picture = stage.preview(output, **inputs)
    except Exception:  # a picture must never cost the work it shows
        logger.warning("no preview", exc_info=True)
        return
    if picture is not None:
        (data / PREVIEW_NAME).write_bytes(encode_under(picture))


def _takes_context(stage: Stage) -> bool:
    return "ctx" in inspect.signature(getattr(stage, stage.entry)).parameters


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    sys.exit(main(Path(sys.argv[1])))
