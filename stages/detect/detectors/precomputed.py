"""Boxes that were computed elsewhere; the kind of file is read off its content.

COCO JSON
    The full form, ``{"images", "annotations", "categories"}``; a bare result list does not
    say which frames its image ids are. An image is the stored frame that its ``file_name``
    names as ``<video_id>/<frame>.<ext>``, for example ``swim/lane 3.mp4/000012.jpg``, or
    that its fields ``video_id`` and ``frame`` name. Frames count from 0 as *stored*: with a
    decoder that drops frames, stored frame 12 is not the twelfth of the original file.
    Boxes are ``[x, y, width, height]`` in pixels of an image of the ``width`` and
    ``height`` given, of the stored frame where they are not.
AVA CSV
    Rows ``video_id, seconds, x1, y1, x2, y2, [label], score`` of detections, or
    ``..., action_id, [person_id]`` of annotations; ``video_id, seconds`` alone is a key
    frame without boxes. Boxes are fractions of the frame; a time is that of the nearest
    stored frame by its presentation time. A video's id is its file name without suffix.
Arrow
    ``boxes.arrow`` of an artifact of ours: detections, tubes (``tubelet show track``) or
    proposals, for the same stored frames.

Thresholds, NMS and the frame stride of `Detect` apply as to any detector; to keep every
box: ``score_threshold=0, nms_iou=1, frame_stride=1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath

import numpy as np
from pydantic import model_validator

from pipeline.input_file import InputFile
from pipeline.wording import suggest
from stages.detect.box_files import BoxFile, CsvRows, Placed, at_stored_frames, read_box_file
from stages.detect.detector import Detections, LookUp
from storage_schemas.errors import BadVideo, SchemaError
from storage_schemas.frames import Frames


class Precomputed(LookUp, version=3):
    """Boxes of a file, looked up by video and stored frame.

    Parameters
    ----------
    boxes : InputFile
        COCO JSON, AVA CSV or ``boxes.arrow``; boxes without a score count as 1.
    csv_rows : {"detections", "annotations"}
        What the rows of a CSV are; both may have seven or eight fields.
    start_seconds : float
        What the clock of a CSV shows where the video's is 0: 900 for AVA's movies cut at
        minute 15.
    """

    boxes: InputFile
    csv_rows: CsvRows = "detections"
    start_seconds: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> Precomputed:
        try:
            self._file()  # a fault of the file shows in the plan, not in every video
        except SchemaError as error:
            raise ValueError(error.message) from error
        return self

    def _file(self) -> BoxFile:
        return _read(self.boxes, self.csv_rows)

    def classes(self) -> Sequence[str]:
        """Names of the classes in the file."""
        return self._file().names

    def look_up(self, frames: Frames, indices: Sequence[int]) -> list[Detections]:
        """Boxes of the frames; one that the file does not name has none.

        Raises
        ------
        BadVideo
            If the file names no frame of the video at all, only frames that it does not
            have, or none of those that are looked at.
        """
        found = self._boxes_of(frames)
        missed = sorted(t for t, one in found.items() if len(one.detections.scores))
        if missed and not set(found) & set(indices):
            raise BadVideo(
                f"{self.boxes.path} has boxes in frames {_listed(missed)}, none of which is "
                "looked at; set frame_stride=1",
                video_id=frames.video_id,
            )
        return [
            found[t].scaled(height=frames.height, width=frames.width) if t in found else _NOTHING
            for t in map(int, indices)
        ]

    def _boxes_of(self, frames: Frames) -> Mapping[float, Placed]:
        file, video_id = self._file(), frames.video_id
        if file.timed and video_id not in file.videos:
            video_id = PurePosixPath(video_id).stem
        if video_id not in file.videos:
            hint = suggest(video_id, file.videos, listed=5)
            remedy = (
                f"name it {video_id!r}, and give times without boxes a row of two fields"
                if file.timed
                else f"name images '{video_id}/<frame>.jpg', and list those without boxes as well"
            )
            raise BadVideo(
                f"{self.boxes.path} has no image of this video; {remedy}; {hint}",
                video_id=frames.video_id,
            )
        found = file.videos[video_id]
        if file.timed:
            by_frame = at_stored_frames(found, frames.pts_seconds, start_seconds=self.start_seconds)
            if not by_frame:
                raise BadVideo(
                    f"{self.boxes.path} names times {min(found):g} to {max(found):g} s, the video "
                    f"lasts from {self.start_seconds + frames.pts_seconds[0]:g} to "
                    f"{self.start_seconds + frames.pts_seconds[-1]:g} s of that clock; set "
                    "start_seconds",
                    video_id=frames.video_id,
                )
            return by_frame
        if found and max(found) >= len(frames):
            raise BadVideo(
                f"{self.boxes.path} names frame {max(found)}, the video has {len(frames)} stored "
                "frames; count stored frames from 0",
                video_id=frames.video_id,
            )
        limit = np.array([frames.width, frames.height] * 2)
        if file.inside and any((one.detections.xyxy > limit).any() for one in found.values()):
            raise BadVideo(
                f"{self.boxes.path} has boxes that leave the frame of {frames.width} x "
                f"{frames.height}, so they are of frames of another size; give boxes of these",
                video_id=frames.video_id,
            )
        return found


_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])


def _listed(frames: Sequence[float]) -> str:
    return ", ".join(map(str, frames[:3])) + (", ..." if len(frames) > 3 else "")


@lru_cache(maxsize=4)
def _read(file: InputFile, csv_rows: CsvRows) -> BoxFile:
    """Boxes and class names of a file, parsed once a process."""
    return read_box_file(file.path, csv_rows=csv_rows)
