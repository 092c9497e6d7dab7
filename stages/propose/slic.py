"""SLIC superpixels as proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

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


class Slic(VideoStage, name="slic", version=1):
    """ConST-CL's SLIC proposals (constcl.md section 2.3).

    Parameters
    ----------
    num_segments : int
        Superpixels to aim at; SLIC gives about as many.
    compactness : float
        Weight of nearness against likeness of colour.
    sigma : float
        Blur before segmentation, pixels.
    frame_stride : int
        Look at every n-th stored frame.
    min_side, max_side : float
        Bounds of a box's sides as fractions of the frame's.
    """

    num_segments: int = Field(16, ge=2)
    compactness: float = Field(10.0, gt=0)
    sigma: float = Field(1.0, ge=0)
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
                t: superpixel_boxes(frames.decode([t])[0], self)
                for t in range(0, len(frames), self.frame_stride)
            },
        )

    def marks(self, frame: int, output: Any, frames: Frames) -> Sequence[Mark]:
        """Borders of the superpixels below the boxes."""
        regions_HW = superpixels(frames.decode([frame])[0], self)
        return [Mark(regions_HW=regions_HW), *super().marks(frame, output, frames)]


def superpixels(frame_HWC: NDArray[np.uint8], parameters: Slic) -> NDArray[np.integer]:
    """Label map (H, W) of one RGB frame (H, W, 3), uint8.

    References
    ----------
    Achanta et al., *SLIC superpixels*, TPAMI 2012; the algorithm is scikit-image's.
    """
    from skimage.segmentation import slic

    return np.asarray(
        slic(
            frame_HWC,
            n_segments=parameters.num_segments,
            compactness=parameters.compactness,
            sigma=parameters.sigma,
            start_label=0,
            channel_axis=-1,
        )
    )


def superpixel_boxes(frame_HWC: NDArray[np.uint8], parameters: Slic) -> RegionBoxes:
    """Boxes of the superpixels of one RGB frame (H, W, 3), uint8."""
    return segment_boxes(
        superpixels(frame_HWC, parameters),
        min_side=parameters.min_side,
        max_side=parameters.max_side,
    )
