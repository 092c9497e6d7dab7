"""Boxes from a detector, in every few frames."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from pipeline.stage import VideoStage
from stages.detect.detector import Detections, Detector
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

_CHUNK = 16  # frames decoded at a time, so that memory does not grow with the video


class Detect(VideoStage, name="detect", version=1):
    """Boxes with scores and class names.

    Parameters
    ----------
    detector : Detector
        ``nanodet``, ``precomputed``, ``detectron2_zoo``, or the path of a module of yours;
        its parameters are set as ``detect.detector.NAME``.
    score_threshold : float
        Least score of a box.
    nms_iou : float
        Of two boxes of one class that overlap more than this, the better one stays.
    max_boxes : int
        Best boxes of a frame.
    frame_stride : int
        Look at every n-th stored frame.
    classes : tuple of str or None
        Names to keep; None keeps all.
    """

    detector: Annotated[SerializeAsAny[Detector], BeforeValidator(Detector.choose)] = Field(
        default="nanodet", validate_default=True
    )
    score_threshold: float = Field(0.35, ge=0, le=1)
    nms_iou: float = Field(0.5, gt=0, le=1)
    max_boxes: int = Field(50, ge=1)
    frame_stride: int = Field(4, ge=1)
    classes: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> Detect:
        known = self.detector.classes()
        for name in self.classes or ():
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{self.detector.name} knows no class {name!r}{hint}")
        return self

    def process(self, *, frames: Frames) -> Boxes:
        """Detections of one video."""
        indices = list(range(0, len(frames), self.frame_stride))
        found: list[Detections] = []
        for start in range(0, len(indices), _CHUNK):
            chunk = indices[start : start + _CHUNK]
            found += self.detector.detect(
                frames.decode(chunk), video_id=frames.video_id, frame_indices=chunk
            )
        kept = [
            select(
                detections,
                height=frames.height,
                width=frames.width,
                score_threshold=self.score_threshold,
                nms_iou=self.nms_iou,
                max_boxes=self.max_boxes,
                classes=self.classes,
            )
            for detections in found
        ]
        counts = [len(one.scores) for one in kept]
        empty = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), [])
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=np.repeat(np.asarray(indices, np.int32), counts),
            xyxy=np.concatenate([empty.xyxy, *(one.xyxy for one in kept)]),
            score=np.concatenate([empty.scores, *(one.scores for one in kept)]),
            label=[label for one in kept for label in one.labels],
        )


def select(
    detections: Detections,
    *,
    height: int,
    width: int,
    score_threshold: float,
    nms_iou: float,
    max_boxes: int,
    classes: tuple[str, ...] | None,
) -> Detections:
    """Clip, threshold, filter by class, suppress non-maxima per class, keep the best.

    Returns
    -------
    Detections
        Sorted by falling score; boxes that are empty after clipping are left out.
    """
    bounds = np.array([width, height, width, height], np.float32)
    xyxy = np.clip(detections.xyxy, 0, bounds)
    labels = np.asarray(detections.labels, dtype=object)
    keep = (detections.scores >= score_threshold) & (xyxy[:, 0] < xyxy[:, 2])
    keep &= xyxy[:, 1] < xyxy[:, 3]
    if classes is not None:
        keep &= np.isin(labels.astype(str), classes)
    order = np.flatnonzero(keep)
    order = order[np.argsort(-detections.scores[order], kind="stable")]
    xyxy, scores, labels = xyxy[order], detections.scores[order], labels[order]
    chosen = suppress(xyxy, labels, iou_threshold=nms_iou)[:max_boxes]
    return Detections(xyxy[chosen], scores[chosen], list(labels[chosen]))


def suppress(
    xyxy: NDArray[np.float32], labels: NDArray[Any], *, iou_threshold: float
) -> NDArray[np.int64]:
    """Rows that survive class-wise greedy NMS; boxes come sorted by falling score."""
    area = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    low = np.maximum(xyxy[:, None, :2], xyxy[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], xyxy[None, :, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    iou = overlap / (area[:, None] + area[None] - overlap)
    rivals = (iou > iou_threshold) & (labels[:, None] == labels[None])
    alive = np.ones(len(xyxy), bool)
    for i in range(len(xyxy)):
        if alive[i]:
            alive[i + 1 :] &= ~rivals[i, i + 1 :]
    return np.flatnonzero(alive)
