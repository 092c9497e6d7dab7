"""Random boxes as proposals: what ConST-CL's released models are trained with."""

from __future__ import annotations

from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.stage import VideoStage
from stages.propose.segment_stage import FrameStride, check_order, propose
from storage_schemas.boxes import Boxes
from storage_schemas.frames import Frames


class RandomBoxes(VideoStage, name="random_boxes", version=1):
    """Draw ConST-CL's random boxes (constcl.md section 2.3).

    Parameters
    ----------
    num_boxes : int
        Boxes of a frame.
    min_width, max_width : float
        Bounds of a box's width as a fraction of the frame's.
    min_aspect, max_aspect : float
        Bounds of height over width, both as fractions of the frame's sides.
    frame_stride : int
        Draw for every n-th stored frame.
    seed : int
        The draw depends on it and on the video's id.
    """

    num_boxes: int = Field(8, ge=1)
    min_width: float = Field(0.1, gt=0, lt=1)
    max_width: float = Field(0.5, gt=0, lt=1)
    min_aspect: float = Field(0.5, gt=0)
    max_aspect: float = Field(2.0, gt=0)
    frame_stride: int = FrameStride
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.min_width, self.max_width, "min_width and max_width")
        check_order(self.min_aspect, self.max_aspect, "min_aspect and max_aspect")
        return self

    def process(self, *, frames: Frames) -> Boxes:
        """Boxes of every ``frame_stride``-th frame; no pixel is looked at."""
        rng = np.random.default_rng([self.seed, crc32(frames.video_id.encode())])
        size = np.array([frames.width, frames.height] * 2)
        numbers = np.arange(self.num_boxes, dtype=np.int32)
        return propose(
            frames,
            {
                t: (numbers, _in_pixels(sample_boxes(rng, self), size))
                for t in range(0, len(frames), self.frame_stride)
            },
        )


def sample_boxes(rng: np.random.Generator, parameters: RandomBoxes) -> NDArray[np.float64]:
    """Boxes (N, 4), ``xyxy`` as fractions of the image, each coordinate drawn on its own.

    Notes
    -----
    The width is drawn, the height is width x aspect; both are cut at 0.999, so that boxes
    at the border leave the bounds, as in the released code. That code also gives its four
    draws one seed, which puts all boxes on the diagonal; here they are independent.
    """
    count = parameters.num_boxes
    low = rng.uniform(0, 1, size=(count, 2))
    width = rng.uniform(parameters.min_width, parameters.max_width, size=count)
    aspect = rng.uniform(parameters.min_aspect, parameters.max_aspect, size=count)
    sides = np.stack([width, width * aspect], axis=1)
    return np.concatenate([low, np.minimum(low + sides, 0.999)], axis=1)


def _in_pixels(boxes_N4: NDArray[np.float64], size: NDArray[np.int64]) -> NDArray[np.float32]:
    # A corner beyond 0.999 would turn the box inside out; it keeps a sliver instead.
    low = np.minimum(boxes_N4[:, :2], 0.998)
    return (np.concatenate([low, boxes_N4[:, 2:]], axis=1) * size).astype(np.float32)
