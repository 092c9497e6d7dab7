"""Felzenszwalb-Huttenlocher segments at two scales as proposals."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.stage import VideoStage
from stages.propose.regions import segment_boxes
from stages.propose.segment_stage import (
    FrameStride,
    MaxSide,
    MinSide,
    RegionBoxes,
    draw,
    propose,
)
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames

_SCALE_OFFSET = 10_000  # keeps the region numbers of the scales apart


class Felzenszwalb(VideoStage, name="felzenszwalb", version=1):
    """Parameters of ConST-CL's FH proposals (constcl.md section 2.3).

    ``scales`` are scale and smallest cluster size of the runs; FH has no number of
    segments, so the ``max_segments`` largest of each run are looked at.
    """

    scales: tuple[int, ...] = (500, 1000)
    max_segments: int = Field(16, ge=1)
    sigma: float = Field(0.8, ge=0)
    frame_stride: int = FrameStride
    min_side: float = MinSide
    max_side: float = MaxSide

    def process(self, *, frames: Frames) -> Boxes:
        """Proposals of every ``frame_stride``-th frame."""
        return propose(
            frames,
            {
                t: segment_proposals(frames.decode([t])[0], self)
                for t in range(0, len(frames), self.frame_stride)
            },
        )

    def preview(self, output: Any, **inputs: Any) -> NDArray[np.uint8]:
        """Four frames with their proposals."""
        return draw(output, inputs["frames"])


def segment_proposals(frame_HWC: NDArray[np.uint8], parameters: Felzenszwalb) -> RegionBoxes:
    """Boxes of the segments of one RGB frame (H, W, 3), uint8, all scales together.

    References
    ----------
    Felzenszwalb and Huttenlocher, IJCV 2004; the algorithm is scikit-image's.
    """
    from skimage.segmentation import felzenszwalb

    found = []
    for run, scale in enumerate(parameters.scales):
        labels_HW = felzenszwalb(
            frame_HWC, scale=scale, sigma=parameters.sigma, min_size=scale, channel_axis=-1
        )
        regions, boxes = segment_boxes(
            labels_HW,
            min_side=parameters.min_side,
            max_side=parameters.max_side,
            largest=parameters.max_segments,
        )
        found.append((regions + run * _SCALE_OFFSET, boxes))
    return (
        np.concatenate([regions for regions, _ in found]).astype(np.int32),
        np.concatenate([boxes for _, boxes in found]),
    )
