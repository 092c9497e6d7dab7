"""Mini-Kinetics-200: lists of YouTube ids beside Kinetics' own, and boxes of people.

::

    {train,val}.csv                      of Kinetics-400, see `kinetics400`
    {train,val}_ytid_list.txt            one YouTube id a line
    **/<id>_<start>_<end>.mp4            or <id>.mp4
    detection_{train,val}_merged_rearranged.npy

The boxes are a source of their own with the ids of their videos, bound beside the frames::

    frames = Decode().of(videos=MiniKinetics200().of())
    people = HumanBoxes().of(boxes=MiniKineticsBoxes().of(), frames=frames)

References
----------
Xie et al., *Rethinking Spatiotemporal Feature Learning*, ECCV 2018 (the lists); Choi et
al., *Why Can't I Dance in the Mall?*, NeurIPS 2019 (the boxes); specs/downstream.md
sections 1 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.found_file import FoundFile
from pipeline.source import Digest, Listing, Source
from pipeline.stage import Stage, VideoStage
from stages.sources.kinetics400 import read_lists
from stages.sources.listed import annotation_of, find_videos, match, read_csv
from stages.sources.pickled_array import read_pickled_array
from stages.sources.walk import some
from storage_schemas.boxes import Boxes
from storage_schemas.errors import BadVideo, SourceError
from storage_schemas.frames import Frames
from storage_schemas.labels import LabelRow
from storage_schemas.videos import VideoFile

Split = Literal["train", "val"]
OFFICIAL = {"train": 80_000, "val": 5_000}
_HEIGHT = 240  # of the frames that people were found in: ``ffmpeg -vf scale=-1:240``


class MiniKinetics200(Source, name="mini_kinetics200", version=1):
    """Clips of Kinetics-400 that the lists of YouTube ids choose, with their 200 classes."""

    path: Path = Path("mini_kinetics200")

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the clips in the order of their ids, ``<id>_<start>_<end>``."""
        root = self.path.expanduser()
        rows, unknown = read_rows(root)
        files, repeated = find_videos(root)
        # Some copies are named by the YouTube id alone.
        whole = {youtube_id(row.video_id): row.video_id for row in rows}
        files = {whole.get(name, name): path for name, path in files.items()}
        listing = match(rows, files, digest=digest, official=OFFICIAL)
        if not listing.videos:
            raise SourceError(
                f"{root} holds none of the {len(rows)} clips that its lists choose; they are "
                f"called <youtube id>_<start>_<end>.mp4. Set --set {self.name}.path=DIR"
            )
        return Listing(listing.videos, listing.labels, [*listing.notes, *unknown, *repeated])


class MiniKineticsBoxes(Source, name="mini_kinetics_boxes", version=1):
    """The file of boxes that each clip's people are in, under the clip's id."""

    path: Path = Path("mini_kinetics200")
    splits: tuple[Split, ...] = Field(get_args(Split), min_length=1)

    def scan(self, *, digest: Digest, dataset: tuple[Stage, str] | None) -> Listing:
        """List the clips whose split has a file of boxes."""
        root = self.path.expanduser()
        rows, _ = read_rows(root)
        files = {split: _box_file(root, split) for split in self.splits}
        there = {split: path for split, path in files.items() if path.is_file()}
        if not there:
            raise SourceError(
                f"{root} holds neither {' nor '.join(p.name for p in files.values())}; unpack "
                f"detections.zip there, or set --set {self.name}.path=DIR"
            )
        found = {split: FoundFile.at(path) for split, path in there.items()}
        digests = dict(zip(found, digest(list(found.values())), strict=True))
        videos = [
            annotation_of(row.video_id, found[row.split], digest=digests[row.split])
            for row in sorted(rows)
            if row.split in found
        ]
        lacking = [f"no {path.name}" for split, path in files.items() if split not in there]
        return Listing(videos=videos, notes=lacking)


class HumanBoxes(VideoStage, name="human_boxes", version=1):
    """Boxes of people with scores, in the stored frames.

    A worker reads the whole file of boxes once for each part that it works on.
    """

    def process(self, *, boxes: VideoFile, frames: Frames) -> Boxes:
        """Boxes of one video, scaled to its stored frames and cut at their edges.

        Raises
        ------
        BadVideo
            If the file does not name the video, or only frames that it does not have.
        """
        assert boxes.path is not None
        found = _read_boxes(boxes.path).get(youtube_id(frames.video_id))
        if found is None:
            raise BadVideo(
                f"{boxes.path.name} does not name {youtube_id(frames.video_id)}",
                video_id=frames.video_id,
            )
        rows, indices = [], []
        for stored, source in enumerate(frames.source_frames.tolist()):
            of_frame = found.get(source + 1, {}).get("human_boxes")  # frames count from 1
            if of_frame is not None and len(of_frame):
                rows.append(np.asarray(of_frame, np.float32).reshape(-1, 5))
                indices.append(np.full(len(rows[-1]), stored, np.int32))
        boxes_N5 = np.concatenate(rows) if rows else np.zeros((0, 5), np.float32)
        xyxy = scaled(boxes_N5[:, :4], frames)
        whole = (xyxy[:, 0] < xyxy[:, 2]) & (xyxy[:, 1] < xyxy[:, 3])
        frame = np.concatenate(indices) if indices else np.zeros(0, np.int32)
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=frame[whole],
            xyxy=xyxy[whole],
            score=boxes_N5[whole, 4],
            label=["person"] * int(whole.sum()),
        )


def scaled(xyxy_N4: NDArray[np.float32], frames: Frames) -> NDArray[np.float32]:
    """Boxes in pixels of frames 240 high, in those of the stored frames."""
    shown = frames.height, frames.width
    width = round(shown[1] * _HEIGHT / shown[0])
    factors = np.array([shown[1] / width, shown[0] / _HEIGHT] * 2, np.float32)
    return np.clip(xyxy_N4 * factors, 0, np.array([shown[1], shown[0]] * 2, np.float32))


def youtube_id(video_id: str) -> str:
    """The YouTube id that a clip's name begins with; it may hold underscores itself."""
    return video_id.rsplit("_", 2)[0]


def read_rows(root: Path) -> tuple[list[LabelRow], list[str]]:
    """Rows of Kinetics' lists that the lists of YouTube ids choose, and notes on other ids.

    Raises
    ------
    SourceError
        If a list is missing or malformed.
    """
    known = {(row.split, youtube_id(row.video_id)): row for row in read_lists(root)}
    rows, notes = [], []
    for split in OFFICIAL:
        path = root / f"{split}_ytid_list.txt"
        ids = dict.fromkeys(cells[0] for _, cells in read_csv(path))
        rows += [known[split, one] for one in ids if (split, one) in known]
        unknown = sorted(one for one in ids if (split, one) not in known)
        if unknown:
            notes.append(
                f"{len(unknown)} ids of {path.name} are in no list of Kinetics: {some(unknown)}"
            )
    return rows, notes


def _box_file(root: Path, split: str) -> Path:
    return root / f"detection_{split}_merged_rearranged.npy"


@lru_cache(maxsize=1)
def _read_boxes(path: Path) -> Mapping[str, Mapping[int, Mapping[str, NDArray[np.float32]]]]:
    """Boxes by YouTube id, frame (from 1) and ``human_boxes``: rows x1, y1, x2, y2, score."""
    try:
        by_class = read_pickled_array(path).item()
        return {one: frames for videos in by_class.values() for one, frames in videos.items()}
    except (AttributeError, ValueError) as error:
        raise BadVideo(
            f"{path.name} is not [class][youtube id][frame] of boxes: {error}"
        ) from error
