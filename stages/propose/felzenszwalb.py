"""Felzenszwalb-Huttenlocher segments at two scales as proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.marks import Mark
from pipeline.stage import VideoStage
from stages.propose.regions import segment_boxes
from stages.propose.segment_stage import (
    FrameStride,
    MaxSide,
    MinSide,
    RegionBoxes,
    check_order,
    propose,
)
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

_SCALE_OFFSET = 10_000  # keeps the region numbers of the scales apart


class Felzenszwalb(VideoStage, name="felzenszwalb", version=1):
    """ConST-CL's FH proposals (constcl.md section 2.3).

    Parameters
    ----------
    scales : tuple of int
        Scale of each run, and its smallest segment in pixels.
    max_segments : int
        Largest segments of each run that are looked at: FH takes no number of segments.
    sigma : float
        Blur before segmentation, pixels.
    frame_stride : int
        Look at every n-th stored frame.
    min_side, max_side : float
        Bounds of a box's sides as fractions of the frame's.
    """

    scales: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (500, 1000)
    max_segments: int = Field(16, ge=1)
    sigma: float = Field(0.8, ge=0)
    frame_stride: int = FrameStride
    min_side: float = MinSide
    max_side: float = MaxSide

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.min_side, self.max_side, "min_side and max_side")
        return self

    def process(self, *, frames: Frames) -> Boxes:
        """Proposals of every ``frame_stride``-th frame."""
        return propose(
            frames,
            {
                t: segment_proposals(frames.decode([t])[0], self)
                for t in range(0, len(frames), self.frame_stride)
            },
        )

    def marks(self, frame: int, output: Any, frames: Frames) -> Sequence[Mark]:
        """Borders of the segments of the first scale below the boxes."""
        image_HWC = frames.decode([frame])[0]
        regions_HW = segments(image_HWC, scale=self.scales[0], sigma=self.sigma)
        return [Mark(regions_HW=regions_HW), *super().marks(frame, output, frames)]


def segments(frame_HWC: NDArray[np.uint8], *, scale: int, sigma: float) -> NDArray[np.integer]:
    """Label map (H, W) of one RGB frame (H, W, 3), uint8.

    References
    ----------
    Felzenszwalb and Huttenlocher, IJCV 2004; the algorithm is scikit-image's.
    """
    from skimage.segmentation import felzenszwalb

    return np.asarray(
        felzenszwalb(frame_HWC, scale=scale, sigma=sigma, min_size=scale, channel_axis=-1)
    )


def segment_proposals(frame_HWC: NDArray[np.uint8], parameters: Felzenszwalb) -> RegionBoxes:
    """Boxes of the segments of one RGB frame (H, W, 3), uint8, all scales together.

    The region number is the segment's plus 10 000 for each run before it.
    """
    found = []
    for run, scale in enumerate(parameters.scales):
        regions, boxes = segment_boxes(
            segments(frame_HWC, scale=scale, sigma=parameters.sigma),
            min_side=parameters.min_side,
            max_side=parameters.max_side,
            largest=parameters.max_segments,
        )
        found.append((regions + run * _SCALE_OFFSET, boxes))
    return (
        np.concatenate([regions for regions, _ in found]).astype(np.int32),
        np.concatenate([boxes for _, boxes in found]),
    )
