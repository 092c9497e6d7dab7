"""The command ``export``: shards as WebDataset tars, with what else is known of the videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.records import Record
from pipeline.store import Store, open_store
from pipeline.wording import counted
from stages.report.report import human_size
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.frames import Frames
from storage_schemas.labels import LabelRow, Labels
from storage_schemas.manifest import Manifest
from storage_schemas.shards import Shard
from workflows.options import StoreDir, console
from workflows.runs import find_keys, find_run, open_views
from workflows.session import DEFAULT_STORE

_READERS: Mapping[str, type[Frames]] = {Shard.name: Shard, Frames.name: Frames}
_MAX_BYTES = 1_000_000_000


class Form(StrEnum):
    """How frames lie in a sample."""

    JPEG = "jpeg"
    MP4 = "mp4"


def export(
    what: Annotated[str, typer.Argument(metavar="SHARD_KEY|RUN", help="Of a run, all its shards.")],
    to: Annotated[Path, typer.Argument(metavar="DIR|FILE.tar")],
    form: Annotated[
        Form, typer.Option("--as", help="A file a frame, or one Motion JPEG file a video.")
    ] = Form.JPEG,
    join: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE|KEY", help="Labels, tubes or boxes to add; repeatable."),
    ] = None,
    max_bytes: Annotated[
        int, typer.Option(min=10_240, help="Of a tar; a video that is larger has one of its own.")
    ] = _MAX_BYTES,
    store: StoreDir = DEFAULT_STORE,
) -> None:
    """Write shards as WebDataset tars, the same bytes each time.

    A sample is a video: its frames as they are stored, and a json with their times and what
    is joined. Labels give a file cls as well.
    """
    from stages.shard.webdataset import write_tars

    opened = open_store(store)
    shards, record = find_shards(opened, what)
    samples = _samples(opened, shards, form, join or [], record)
    paths = write_tars(samples, to, max_bytes=max_bytes)
    videos = sum(len(manifest.items) for manifest in shards)
    size = human_size(sum(path.stat().st_size for path in paths))
    found = f"{counted(videos, 'video')} in {counted(len(paths), 'tar')}"
    console.print(f"{found}, {size}: {to}", highlight=False, soft_wrap=True)
    if larger := [path for path in paths if path.stat().st_size > max_bytes]:
        console.print(
            f"{counted(len(larger), 'tar')} of one video each exceed --max-bytes {max_bytes}, "
            f"such as {larger[0]}",
            style="yellow", highlight=False, soft_wrap=True,
        )  # fmt: skip


def find_shards(store: Store, what: str) -> tuple[list[Manifest], Record]:
    """Artifacts to export: the one of a key, or the shards of a run.

    Raises
    ------
    ParameterError
        If a key is of something else, or a run has no shards in the store.
    """
    record = find_run(store, what)
    manifests = [view.manifest for view in open_views(store, record)[0]]
    if not record.recipe:  # a key stands for all that it rests on
        if manifests[-1].noun not in _READERS:
            raise ParameterError(
                f"{what} holds {manifests[-1].noun}, not frames; `tubelet show shard` lists shards"
            )
        return manifests[-1:], record
    shards = [manifest for manifest in manifests if manifest.noun == Shard.name]
    if not shards:
        raise ParameterError(
            f"{what!r} has no shard in the store; `tubelet show shard` lists shards to export"
        )
    return shards, record


def _samples(
    store: Store, shards: Sequence[Manifest], form: Form, join: Sequence[str], record: Record
) -> Iterator[tuple[str, dict[str, bytes]]]:
    from stages.shard.webdataset import as_jpegs, as_movie, describe_sample, sample_key

    labels = Joined(store, join, record)
    encode = as_movie if form is Form.MP4 else as_jpegs
    for manifest in shards:
        boxes = labels.boxes_of(manifest)
        for video_id, frames in (
            _READERS[manifest.noun].open_part(store.folder(manifest.key)).items()
        ):
            found = {name: part[video_id] for name, part in boxes.items() if video_id in part}
            label = labels.label_of(video_id)
            fields = encode(frames)
            fields["json"] = describe_sample(frames, boxes=found, label=label)
            if "class" in label:
                fields["cls"] = str(label["class"]).encode()
            yield sample_key(video_id), fields


class Joined:
    """What is added to the samples: labels by video, boxes by part.

    Parameters
    ----------
    store : Store
    names : sequence of str
        Keys, or names of stages; of the run's steps first, so that its own are taken.
    record : Record

    Raises
    ------
    ParameterError
        If one is neither labels nor boxes.
    """

    def __init__(self, store: Store, names: Sequence[str], record: Record) -> None:
        self._store = store
        self._labels: dict[str, LabelRow] = {}
        self._classes: dict[str, int] = {}
        self._boxes: dict[str, list[Manifest]] = {}
        for name in names:
            if name in record.steps:
                keys = [node.key for node in record.steps[name].parts.values()]
            else:
                keys = find_keys(store, name)
            manifests = [store.read_manifest(key) for key in keys]
            if manifests[-1].noun == Labels.name:
                labels = Labels.open(store.folder(manifests[-1].key))
                self._labels |= {row.video_id: row for row in labels.rows}
                self._classes |= {label: i for i, label in enumerate(labels.classes)}
            elif manifests[-1].noun == Boxes.name:
                self._boxes[manifests[-1].step] = manifests
            else:
                raise ParameterError(
                    f"--join {name} holds {manifests[-1].noun}; labels and boxes (tubes, "
                    "proposals, detections) can be joined"
                )

    def boxes_of(self, shard: Manifest) -> dict[str, Mapping[str, Boxes]]:
        """Step name -> boxes of the same frames as a shard, the newest of each step."""
        frames = {key for keys in shard.inputs.values() for key in keys} | {shard.key}
        found: dict[str, Mapping[str, Boxes]] = {}
        for step, manifests in self._boxes.items():
            same = [m for m in manifests if frames & {k for ks in m.inputs.values() for k in ks}]
            if not same:
                raise StoreError(
                    f"no {step!r} in the store is of the frames of {shard.key} "
                    f"(part {shard.part}); compute it with `tubelet run`"
                )
            found[step] = Boxes.open_part(self._store.folder(same[-1].key))
        return found

    def label_of(self, video_id: str) -> dict[str, Any]:
        """Label, its index and the split; empty for a video without one."""
        row = self._labels.get(video_id)
        if row is None:
            return {}
        found: dict[str, Any] = {"split": row.split}
        if row.label:
            found |= {"label": row.label, "class": self._classes[row.label]}
        return found
