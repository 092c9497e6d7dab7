"""Random boxes as proposals: what ConST-CL's released models are trained with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.parameters import constant
from stages.propose.regions import RegionBoxes
from stages.propose.segment_stage import ProposalStage, check_order
from storage_schemas.frames import Frames


class RandomBoxes(ProposalStage, name="random_boxes", version=2):
    """Draw ConST-CL's random boxes (constcl.md section 2.3).

    Parameters
    ----------
    num_boxes : int
        Boxes of a frame.
    min_width, max_width : float
        Bounds of a box's width as a fraction of the frame's.
    min_aspect, max_aspect : float
        Bounds of height over width, both as fractions of the frame's sides.
    draws : {"independent", "correlated"}
        ``correlated`` is an ablation: the released code gives its four draws one seed, so
        that a box is a function of one number and its corner lies on the diagonal.
    frame_stride : int
        Draw for every n-th stored frame.
    seed : int
        The draw depends on it, on the video's id and on the frame.
    """

    num_boxes: int = constant(8, "ConST-CL code: video_ssl_inputs.py", ge=1)
    min_width: float = constant(0.1, "ConST-CL code: video_ssl_inputs.py", gt=0, lt=1)
    max_width: float = constant(0.5, "ConST-CL code: video_ssl_inputs.py", gt=0, lt=1)
    min_aspect: float = constant(0.5, "ConST-CL code: video_ssl_inputs.py", gt=0)
    max_aspect: float = constant(2.0, "ConST-CL code: video_ssl_inputs.py", gt=0)
    draws: Literal["independent", "correlated"] = "independent"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_order(self.min_width, self.max_width, "min_width and max_width")
        check_order(self.min_aspect, self.max_aspect, "min_aspect and max_aspect")
        return self

    def propose(self, frames: Frames, chosen: Sequence[int]) -> Iterator[RegionBoxes]:
        """Boxes of each frame, numbered as they are drawn; no pixel is looked at."""
        for t in chosen:
            rng = np.random.default_rng([self.seed, crc32(frames.video_id.encode()), t])
            boxes = sample_boxes(rng, self)
            # A corner beyond 0.999 would turn the box inside out; it keeps a sliver instead.
            boxes[:, :2] = np.minimum(boxes[:, :2], 0.998)
            xyxy = boxes * np.array([frames.width, frames.height] * 2)
            yield np.arange(self.num_boxes, dtype=np.int32), xyxy.astype(np.float32)


def sample_boxes(rng: np.random.Generator, parameters: RandomBoxes) -> NDArray[np.float64]:
    """Boxes (N, 4), ``xyxy`` as fractions of the image.

    Notes
    -----
    The width is drawn, the height is width x aspect; both are cut at 0.999, so that boxes
    at the border leave the bounds, as in the released code.
    """
    columns = 1 if parameters.draws == "correlated" else 4
    left, top, w, a = np.broadcast_to(
        rng.random((parameters.num_boxes, columns)), (parameters.num_boxes, 4)
    ).T
    width = parameters.min_width + w * (parameters.max_width - parameters.min_width)
    aspect = parameters.min_aspect + a * (parameters.max_aspect - parameters.min_aspect)
    right, bottom = np.minimum(left + width, 0.999), np.minimum(top + width * aspect, 0.999)
    return np.stack([left, top, right, bottom], axis=1)
