"""Boxes from a detector, in every few frames."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from pipeline.stage import Context, VideoStage
from pipeline.wording import suggest
from stages.detect.detector import Detections, Detector, LookUp
from stages.detect.tiles import Tiles
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

_CHUNK = 16  # frames decoded at a time, so that memory does not grow with the video


class Detect(VideoStage, name="detect", version=2):
    """Boxes with scores and class names.

    Parameters
    ----------
    detector : Detector
        ``nanodet``, ``hog``, ``onnx``, ``detectron2_zoo``, ``precomputed``, or the path of a
        module of yours; its parameters are set as ``detect.detector.NAME``.
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
    tiles : Tiles
        ``detect.tiles.rows=2`` and ``detect.tiles.columns=2`` look at quarters of a frame as
        well, for small objects in large frames; the time grows with their number.
    """

    detector: Annotated[SerializeAsAny[Detector], BeforeValidator(Detector.choose)] = Field(
        default="nanodet", validate_default=True
    )
    score_threshold: float = Field(0.35, ge=0, le=1)
    nms_iou: float = Field(0.5, gt=0, le=1)
    max_boxes: int = Field(50, ge=1)
    frame_stride: int = Field(4, ge=1)
    classes: tuple[str, ...] | None = None
    tiles: Tiles = Tiles()

    @model_validator(mode="after")
    def _check_classes(self) -> Detect:
        known = self.detector.classes()
        for name in self.classes or ():
            if known is not None and name not in known:
                hint = suggest(name, known)
                raise ValueError(f"{self.detector.name} knows no class {name!r}; {hint}")
        return self

    @model_validator(mode="after")
    def _check_tiles(self) -> Detect:
        if isinstance(self.detector, LookUp) and self.tiles.rows * self.tiles.columns > 1:
            raise ValueError(
                f"{self.detector.name} reads no pixels, so tiles of {self.tiles.rows} x "
                f"{self.tiles.columns} have no meaning; leave tiles at 1 x 1"
            )
        return self

    def uses_device(self) -> bool:
        """Whether its detector does."""
        return self.detector.uses_device

    def process(self, *, frames: Frames, ctx: Context | None = None) -> Boxes:
        """Detections of one video; without `ctx` on one thread, on a GPU where there is one."""
        indices = list(range(0, len(frames), self.frame_stride))
        if isinstance(self.detector, LookUp):
            found = self.detector.look_up(frames, indices)
        else:
            found = []
            for start in range(0, len(indices), _CHUNK):
                images_NHWC = frames.decode(indices[start : start + _CHUNK])
                found += self.tiles.detect(images_NHWC, partial(self._detect, ctx=ctx))
        kept = [self._select(one, frames.height, frames.width) for one in found]
        counts = [len(one.scores) for one in kept]
        boxes = Detections.join(kept)
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=np.repeat(np.asarray(indices, np.int32), counts),
            xyxy=boxes.xyxy,
            score=boxes.scores,
            label=boxes.labels,
        )

    def _detect(self, images_NHWC: NDArray[np.uint8], *, ctx: Context | None) -> list[Detections]:
        """What is kept of the detections of each image, a frame or a tile."""
        found = self.detector.detect(
            images_NHWC,
            threads=ctx.threads if ctx else 1,
            device=ctx.device if ctx else "auto",
        )
        return [self._select(one, *images_NHWC.shape[1:3]) for one in found]

    def _select(self, found: Detections, height: int, width: int) -> Detections:
        return select(
            found,
            height=height,
            width=width,
            score_threshold=self.score_threshold,
            nms_iou=self.nms_iou,
            max_boxes=self.max_boxes,
            classes=self.classes,
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
    chosen = suppress(xyxy, labels, iou_threshold=nms_iou, limit=max_boxes)
    return Detections(xyxy[chosen], scores[chosen], list(labels[chosen]))


def suppress(
    xyxy: NDArray[np.float32], labels: NDArray[Any], *, iou_threshold: float, limit: int
) -> NDArray[np.int64]:
    """First `limit` rows that survive class-wise greedy NMS; boxes come best first."""
    names = {name: number for number, name in enumerate(dict.fromkeys(labels))}
    class_N = np.array([names[name] for name in labels], np.int64)
    area_N = (xyxy[:, 2:] - xyxy[:, :2]).prod(axis=1)
    left = np.arange(len(xyxy))
    chosen: list[int] = []
    while len(left) and len(chosen) < limit:
        best, left = left[0], left[1:]
        chosen.append(int(best))
        low = np.maximum(xyxy[best, :2], xyxy[left, :2])
        high = np.minimum(xyxy[best, 2:], xyxy[left, 2:])
        overlap = np.clip(high - low, 0, None).prod(axis=1)
        iou = overlap / (area_N[best] + area_N[left] - overlap)
        left = left[~((iou > iou_threshold) & (class_N[left] == class_N[best]))]
    return np.array(chosen, np.int64)
