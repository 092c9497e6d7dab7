"""Pictures of artifacts, made from the store alone: contact sheets and annotated films.

Nothing is computed anew except what a stage draws (`pipeline.stage.VideoStage.marks`). The
frames to draw on are found through the input keys of the manifests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.child import open_inputs
from pipeline.film import annotate, write_film
from pipeline.ink import Image
from pipeline.pictures import stack
from pipeline.sheet import contact_sheet
from pipeline.stage import GatherStage, Stage, VideoStage
from pipeline.store import Store
from pipeline.wording import counted, suggest
from storage_schemas.boxes import Boxes
from storage_schemas.errors import ParameterError, StoreError
from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg, encode_jpeg
from storage_schemas.labels import Labels
from storage_schemas.manifest import PREVIEW_NAME, Manifest
from storage_schemas.noun import ItemNoun
from storage_schemas.shards import Shard
from storage_schemas.trajectories import Trajectories
from workflows.patches import patch_film, patch_sheet
from workflows.picture_files import MARK, replace, with_comment
from workflows.runs import find_keys

_DRAWN: Mapping[str, type[ItemNoun]] = {noun.name: noun for noun in (Frames, Shard, Boxes)}
_FRAMES = (Frames.name, Shard.name)
_WIDTH, _ROWS = 1600, 4  # of a sheet in pixels; rows of frames where it is of one video
_MAX_VIDEOS = 16  # of a sheet
_BATCH = 64  # artifacts that are looked into at once
_SHOWN = "frames, shards, tubes, proposals, detections, trajectories, maps and retrieval have"


@dataclass(frozen=True)
class Exhibit:
    """An artifact, and the frames of its videos."""

    manifest: Manifest
    stage: VideoStage
    items: Mapping[str, Any]
    frames: Mapping[str, Frames]


@dataclass(frozen=True)
class Gathered:
    """An artifact of a whole data set, and what its stage had read."""

    stage: GatherStage
    output: Any
    inputs: Mapping[str, Any]

    def sheet(self, video_id: str) -> Image:
        """See `GatherStage.sheet`."""
        return self.stage.sheet(video_id, self.output, **self.inputs)

    def film(self, video_id: str) -> tuple[Iterator[Image], NDArray[np.float64]]:
        """See `GatherStage.film`."""
        return self.stage.film(video_id, self.output, **self.inputs)


def find_artifact(store: Store, what: str, *, video_id: str | None) -> Manifest:
    """The artifact that is meant: by key, else the newest of a stage that has the video.

    Raises
    ------
    StoreError
        If there is none.
    ParameterError
        If none of them has the video; names the nearest.
    """
    keys = find_keys(store, what)
    found = list(store.manifests(keys[::-1]).values())
    newest = found[0] if found else _whole(store, keys[-1])
    if video_id is None or newest.noun not in _DRAWN:
        return newest
    for manifest in found:
        if video_id in manifest.items:
            return manifest
    raise _unknown_video(store, video_id, found, what)


def write_sheet(
    store: Store,
    manifest: Manifest,
    stages: Mapping[str, type[Stage]],
    path: Path,
    *,
    video_id: str | None,
) -> str:
    """Write a contact sheet, of one video or of all up to 16; says what was left out.

    Artifacts that have no frames below them show the picture that their stage made.
    """
    note = ""
    if manifest.noun == Trajectories.name and video_id is not None:
        bank = Trajectories.open(store.folder(manifest.key))
        sheet = patch_sheet(bank, find_frames(store, video_id))
    elif manifest.noun in _DRAWN:
        exhibit = open_exhibit(store, manifest, stages)
        names = list(exhibit.items) if video_id is None else [video_id]
        if not names:
            raise StoreError(f"{manifest.key} holds no video; `tubelet quarantine list` says why")
        step = max(1, -(-len(names) // _MAX_VIDEOS))
        if step > 1:
            note = f"{len(names[::step])} of {len(names)} videos; choose one with --video VIDEO_ID"
        rows = 1 if video_id is None else _ROWS
        sheets = [
            contact_sheet(
                exhibit.stage, exhibit.items[name], exhibit.frames[name], width=_WIDTH, rows=rows
            )
            for name in names[::step]
        ]
        sheet = stack(sheets, gap=12)
    elif video_id is not None:
        sheet = open_gathered(store, manifest, stages, video_id=video_id).sheet(video_id)
    elif (preview := store.file(manifest.key, PREVIEW_NAME)) is not None:
        sheet = decode_jpeg(preview.read_bytes())
    else:
        raise StoreError(f"{manifest.key} ({manifest.noun}) has no picture; {_SHOWN}")
    data = with_comment(encode_jpeg(sheet, quality=90), f"{MARK}{manifest.key}")
    replace(path, lambda temporary: temporary.write_bytes(data))
    return note


def write_video(
    store: Store,
    manifest: Manifest,
    stages: Mapping[str, type[Stage]],
    path: Path,
    *,
    video_id: str,
) -> None:
    """Write an annotated film of one video."""
    images: Iterator[Image]
    times: NDArray[np.float64]
    if manifest.noun == Trajectories.name:
        bank = Trajectories.open(store.folder(manifest.key))
        images, times = patch_film(bank, find_frames(store, video_id))
    elif manifest.noun in _DRAWN:
        exhibit = open_exhibit(store, manifest, stages)
        frames = exhibit.frames[video_id]
        images = annotate(exhibit.stage, exhibit.items[video_id], frames)
        times = frames.pts_seconds
    else:
        gathered = open_gathered(store, manifest, stages, video_id=video_id)
        images, times = gathered.film(video_id)
    comment = f"{MARK}{manifest.key} {video_id}"
    replace(path, lambda temporary: write_film(temporary, images, times, comment=comment))


def open_exhibit(store: Store, manifest: Manifest, stages: Mapping[str, type[Stage]]) -> Exhibit:
    """An artifact with the frames that it rests on.

    Where the stage is unknown here, or of another version, what is stored is drawn, without
    what the stage would add.

    Raises
    ------
    StoreError
        If frames are no longer in the store.
    """
    kind = stages.get(manifest.stage)
    if kind is None or kind.version != manifest.stage_version:
        kind = VideoStage
    # Not validated: it only draws, and a detector's weights may be gone.
    stage = kind.model_construct(**manifest.parameters)
    vars(stage).update(manifest.parameters)  # `VideoStage` has no fields, yet a stride counts
    assert isinstance(stage, VideoStage)
    below = _frames_below(store, manifest)
    items, frames = (_DRAWN[one.noun].open_part(store.folder(one.key)) for one in (manifest, below))
    return Exhibit(manifest, stage, items, frames)  # type: ignore[arg-type]


def open_gathered(
    store: Store, manifest: Manifest, stages: Mapping[str, type[Stage]], *, video_id: str
) -> Gathered:
    """An artifact of a whole data set that has pictures of a video.

    Raises
    ------
    StoreError
        If what it rests on is no longer in the store.
    ParameterError
        If it has no pictures, or none of this video.
    """
    nothing = ParameterError(f"{manifest.key} ({manifest.noun}) is not of a video; {_SHOWN} films")
    kind = stages.get(manifest.stage)
    if kind is None or not issubclass(kind, GatherStage):
        raise nothing
    if kind.version != manifest.stage_version:
        raise ParameterError(
            f"{manifest.key} was made by {manifest.stage} of version {manifest.stage_version}, "
            f"this tubelet has {kind.version}; run its recipe again"
        )
    for keys in manifest.inputs.values():
        for key in keys:
            _whole(store, key, reader=manifest)
    stage = kind.model_validate(manifest.parameters)
    output = kind.output.open(store.folder(manifest.key))  # type: ignore[attr-defined]
    found = Gathered(stage, output, open_inputs(stage, store, manifest.inputs))
    names = stage.pictured(output, **found.inputs)
    if not names:
        raise nothing
    if video_id not in names:
        raise _not_pictured(video_id, names, found, f"the pictures of {manifest.key}")
    return found


def _frames_below(store: Store, manifest: Manifest) -> Manifest:
    """The nearest artifact of frames that another rests on, or is."""
    waiting = [manifest]
    while waiting:
        nearest = waiting.pop(0)
        if nearest.noun in _FRAMES:
            return nearest
        keys = [key for keys in nearest.inputs.values() for key in keys]
        waiting += [_whole(store, key, reader=nearest) for key in keys]
    raise StoreError(f"{manifest.key} rests on no frames that could be drawn on")


def find_frames(store: Store, video_id: str) -> Frames:
    """Stored frames of a video, wherever they are in the store, the newest first."""
    found = []
    keys = list(store.keys())[::-1]
    batches = (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))
    for key, manifest in (pair for batch in batches for pair in store.manifests(batch).items()):
        if manifest.noun not in _FRAMES:
            continue
        if video_id in manifest.items:
            frames = _DRAWN[manifest.noun].open_part(store.folder(key))[video_id]
            assert isinstance(frames, Frames)
            return frames
        found.append(manifest)
    raise _unknown_video(store, video_id, found, "the frames of this store")


def _whole(store: Store, key: str, *, reader: Manifest | None = None) -> Manifest:
    """The manifest of an artifact whose files are there."""
    damage = store.damage(key)
    if damage is None:
        return store.read_manifest(key)
    what = f"{key} is {damage}" if damage == "absent" else f"{key} is damaged ({damage})"
    where = "" if reader is None else f"{reader.key} rests on it, but "
    raise StoreError(
        f"{where}{what} in {store.location}; `tubelet run RECIPE` with the same settings "
        "computes it again"
    )


def _unknown_video(
    store: Store, video_id: str, found: Sequence[Manifest], where: str
) -> ParameterError:
    """Names the cause if the video was rejected, else the nearest, else a few."""
    for manifest in store.read_manifests(list(store.keys())):
        for row in manifest.quarantined:
            if row.video_id == video_id:
                return ParameterError(f"{row.stage} rejected {video_id!r}: {row.message}")
    names = sorted({name for manifest in found for name in manifest.items})
    return _no_such_video(video_id, names, where)


def _not_pictured(
    video_id: str, names: Sequence[str], found: Gathered, where: str
) -> ParameterError:
    """Says of a video of the data set why it has no picture, of another what it may be."""
    labels = [one for one in found.inputs.values() if isinstance(one, Labels)]
    for row in (row for one in labels for row in one.rows if row.video_id == video_id):
        return ParameterError(
            f"{video_id!r} is of the {row.split} split, and {where} are of "
            f"{counted(len(names), 'test video')} only, such as {names[0]!r}"
        )
    return _no_such_video(video_id, names, where)


def _no_such_video(video_id: str, names: Sequence[str], where: str) -> ParameterError:
    """Names the nearest, else a few."""
    return ParameterError(f"no video {video_id!r} in {where}; {suggest(video_id, names, listed=5)}")
