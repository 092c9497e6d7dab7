"""What proposal stages repeat: strided frames in, boxes out, and the picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.marks import Mark
from pipeline.stage import VideoStage
from stages.propose.regions import RegionBoxes, keep_largest, segment_boxes
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames
from storage_schemas.jpeg import decode_jpeg


class ProposalStage(VideoStage, kind=True):
    """A stage that proposes boxes in every ``frame_stride``-th stored frame.

    Define ``propose(self, frames, t)``.
    """

    frame_stride: int = Field(8, ge=1)

    def propose(self, frames: Frames, t: int) -> RegionBoxes:
        """Region numbers (N,) and boxes (N, 4) of stored frame `t`, in its pixels."""
        raise NotImplementedError

    def process(self, *, frames: Frames) -> Boxes:
        """Proposals of every ``frame_stride``-th frame."""
        chosen = np.arange(0, len(frames), self.frame_stride, dtype=np.int32)
        found = [self.propose(frames, int(t)) for t in chosen]
        return Boxes(
            video_id=frames.video_id,
            num_frames=len(frames),
            height=frames.height,
            width=frames.width,
            frame=np.repeat(chosen, [len(regions) for regions, _ in found]),
            xyxy=np.concatenate([xyxy for _, xyxy in found]),
            region=np.concatenate([regions for regions, _ in found]),
        )


class SegmentStage(ProposalStage, kind=True):
    """A stage whose proposals are the boxes of segments.

    Define ``segment(self, frame_HWC, shrink)``.

    Parameters
    ----------
    backend : {"skimage", "opencv"}
        Library that segments; their segments differ a little.
    short_side : int, optional
        Frames are shrunk to this short side, in pixels, before they are segmented; None
        segments stored frames. Other lengths and areas are in pixels of the stored frame.
    frame_stride : int
        Look at every n-th stored frame.
    min_side, max_side : float
        Bounds of a box's sides as fractions of the frame's.
    max_boxes : int, optional
        Keep the largest boxes of a frame only.
    """

    backend: Literal["skimage", "opencv"] = "skimage"
    short_side: int | None = Field(120, ge=8)
    min_side: float = Field(0.05, ge=0, le=1)
    max_side: float = Field(0.7, ge=0, le=1)
    max_boxes: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.min_side, self.max_side, "min_side and max_side")
        return self

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> Sequence[NDArray[np.integer]]:
        """Label maps (h, w) of one RGB frame (h, w, 3), uint8, `shrink` times its stored size."""
        raise NotImplementedError

    def frame_maps(self, frames: Frames, t: int) -> Sequence[NDArray[np.integer]]:
        """Label maps of stored frame `t`, shrunk to ``short_side``, mostly by the JPEG codec."""
        side = min(frames.height, frames.width)
        least = self.short_side or side
        by_codec = max((n for n in (1, 2, 4, 8) if side >= n * least), default=1)
        image_HWC = decode_jpeg(frames.jpegs[t], shrink=by_codec)
        return self._segmented(image_HWC, frames.height, frames.width)

    def label_maps(self, frame_HWC: NDArray[np.uint8]) -> Sequence[NDArray[np.integer]]:
        """Label maps of one RGB frame (H, W, 3), uint8, shrunk to ``short_side``."""
        return self._segmented(frame_HWC, *frame_HWC.shape[:2])

    def _segmented(
        self, image_HWC: NDArray[np.uint8], height: int, width: int
    ) -> Sequence[NDArray[np.integer]]:
        import cv2

        shrink = min(1.0, (self.short_side or height) / min(height, width))
        size = (round(width * shrink), round(height * shrink))
        if image_HWC.shape[1::-1] != size:
            image_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA))
        return self.segment(image_HWC, shrink)

    def propose(self, frames: Frames, t: int) -> RegionBoxes:
        """Boxes of one frame's segments; of M label maps, region ``i * M + m`` is i of map m."""
        maps = self.frame_maps(frames, t)
        found = [
            segment_boxes(labels, min_side=self.min_side, max_side=self.max_side) for labels in maps
        ]
        regions = [numbers * len(maps) + m for m, (numbers, _) in enumerate(found)]
        size = np.array([frames.width, frames.height] * 2, np.float32)
        grain = size / np.array(maps[0].shape[::-1] * 2, np.float32)
        xyxy = np.concatenate([boxes for _, boxes in found]) * grain
        return keep_largest((np.concatenate(regions), np.minimum(xyxy, size)), self.max_boxes)

    def marks(self, frame: int, output: Any, frames: Frames) -> Sequence[Mark]:
        """Borders of the segments of the first label map below the boxes."""
        regions_HW = self.frame_maps(frames, frame)[0]
        return [Mark(regions_HW=regions_HW), *super().marks(frame, output, frames)]


def check_order(low: float, high: float, names: str) -> None:
    """Refuse bounds that nothing can lie between."""
    if low > high:
        raise ValueError(f"{names} are {low} and {high}: the first must not exceed the second")
