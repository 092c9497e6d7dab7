"""Boxes that were computed elsewhere, in COCO JSON.

The file has the full form, ``{"images", "annotations", "categories"}``; a bare result list
does not say which frames its image ids are. An image is the stored frame that its
``file_name`` names as ``<video_id>/<frame>.<ext>``, for example
``swim/lane 3.mp4/000012.jpg``, or the one that its fields ``video_id`` and ``frame`` name.
Frames count from 0 as *stored*: with a decoder that drops frames, stored frame 12 is not
the twelfth of the original file. Boxes are ``[x, y, width, height]`` in pixels of the
stored frame.

Thresholds, NMS and the frame stride of `Detect` apply as to any detector; to keep every
box: ``score_threshold=0, nms_iou=1, frame_stride=1``.
"""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from pipeline.input_file import InputFile
from stages.detect.detector import Detections, Detector
from storage_schemas.errors import BadVideo

Videos = Mapping[str, Mapping[int, Detections]]  # video id -> stored frame -> boxes


class Precomputed(Detector, version=2):
    """Boxes of a file, looked up by video and stored frame.

    Parameters
    ----------
    boxes : InputFile
        The COCO file; annotations without ``score`` count as 1.
    """

    boxes: InputFile

    @model_validator(mode="after")
    def _check(self) -> Precomputed:
        _read(self.boxes)  # a fault of the file shows in the plan, not in every video
        return self

    def classes(self) -> Sequence[str]:
        """Names of the file's categories."""
        return _read(self.boxes)[1]

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Look up the frames; one that the file does not name has no boxes.

        Raises
        ------
        BadVideo
            If the file names no frame of the video at all.
        """
        videos, _ = _read(self.boxes)
        if video_id not in videos:
            near = difflib.get_close_matches(video_id, videos, n=1, cutoff=0)
            hint = f", the nearest video it names is {near[0]!r}" if near else ""
            raise BadVideo(
                f"{self.boxes.path} has no image of this video{hint}; name images "
                f"'{video_id}/<frame>.jpg', and list those without boxes as well",
                video_id=video_id,
            )
        return [videos[video_id].get(int(t), _NOTHING) for t in frame_indices]


_NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])


@lru_cache(maxsize=4)
def _read(file: InputFile) -> tuple[Videos, list[str]]:
    """Boxes and class names of a file, parsed once a process."""
    try:
        content = json.loads(file.path.read_text(encoding="utf-8"))
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        rows: dict[Any, list[Any]] = defaultdict(list)
        for row in content["annotations"]:
            rows[row["image_id"]].append(row)
        videos: dict[str, dict[int, Detections]] = defaultdict(dict)
        for image in content["images"]:
            video_id, frame = _frame_of(image)
            if frame in videos[video_id]:
                raise ValueError(f"two images are frame {frame} of {video_id!r}")
            videos[video_id][frame] = _detections(rows.pop(image["id"], []), names)
        if rows:
            raise ValueError(f"image_id {next(iter(rows))!r} of an annotation is not in images")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file.path} is not COCO JSON with images, annotations and categories, and "
            f"images named <video_id>/<frame>.<ext>: {type(error).__name__} {error}"
        ) from error
    return dict(videos), list(names.values())


def _frame_of(image: Mapping[str, Any]) -> tuple[str, int]:
    if "video_id" in image and "frame" in image:
        return str(image["video_id"]), int(image["frame"])
    video_id, _, file = str(image["file_name"]).rpartition("/")
    return video_id, int(file.partition(".")[0])


def _detections(rows: list[Any], names: Mapping[Any, str]) -> Detections:
    xywh = np.asarray([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    return Detections(
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        scores=np.asarray([row.get("score", 1.0) for row in rows], np.float32),
        labels=[names[row["category_id"]] for row in rows],
    )
