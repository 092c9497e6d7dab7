"""Boxes that were computed elsewhere, in COCO JSON.

An image belongs to the frame that its ``file_name`` names: ``<video_id>/<frame>.<ext>``
with the number of the *stored* frame, zero-padded or not; or to the one that its fields
``video_id`` and ``frame`` name. A result list (``[{"image_id", "bbox", ...}]``) needs the
images, so give the full form: ``{"images", "annotations", "categories"}``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.input_file import InputFile
from stages.detect.detector import Detections, Detector
from storage_schemas.errors import ParameterError


class Precomputed(Detector, version=1):
    """``boxes`` is the COCO file; annotations without ``score`` count as 1."""

    boxes: InputFile

    @cached_property
    def _by_frame(self) -> dict[tuple[str, int], Detections]:
        content = json.loads(self.boxes.path.read_text())
        try:
            names = {row["id"]: row["name"] for row in content["categories"]}
            images = {row["id"]: _frame_of(row) for row in content["images"]}
            rows: dict[tuple[str, int], list[Any]] = defaultdict(list)
            for row in content["annotations"]:
                rows[images[row["image_id"]]].append(row)
            return {frame: _detections(found, names) for frame, found in rows.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(
                f"{self.boxes.path} is not COCO JSON with images, annotations and categories, "
                f"image names as <video_id>/<frame>.<ext>: {type(error).__name__} {error}"
            ) from error

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Look up the frames; one that the file does not name has no boxes."""
        nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])
        return [self._by_frame.get((video_id, int(t)), nothing) for t in frame_indices]


def _frame_of(image: dict[str, Any]) -> tuple[str, int]:
    if "video_id" in image and "frame" in image:
        return str(image["video_id"]), int(image["frame"])
    video_id, _, file = str(image["file_name"]).rpartition("/")
    return video_id, int(file.partition(".")[0])


def _detections(rows: list[Any], names: dict[int, str]) -> Detections:
    xywh = np.asarray([row["bbox"] for row in rows], np.float32).reshape(-1, 4)
    return Detections(
        xyxy=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1),
        scores=np.asarray([row.get("score", 1.0) for row in rows], np.float32),
        labels=[names[row["category_id"]] for row in rows],
    )
