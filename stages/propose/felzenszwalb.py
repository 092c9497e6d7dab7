"""Felzenszwalb-Huttenlocher segments at two scales as proposals."""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.parameters import constant
from stages.propose.segment_stage import SegmentStage


class Felzenszwalb(SegmentStage, name="felzenszwalb", version=3):
    """ConST-CL's FH proposals (constcl.md section 2.3).

    The parameters of every segmentation stage, and

    Parameters
    ----------
    scales : tuple of int
        Scale of each run in the stored frame: larger ones join more.
    min_area : float
        Smallest segment of a run, pixels of the stored frame for each unit of its scale.
        The paper's is 1.
    sigma : float
        Blur before segmentation, pixels of the stored frame.
    backend : {"opencv", "skimage"}
        Library that segments; their segments differ a little.
    max_boxes : int, optional
        FH takes no number of segments; the paper's 16 of each run make 32.

    Notes
    -----
    A segment's threshold is scale / pixels, and it is compared with steps of colour. A frame
    of which the sides shrink by s has s**2 of the pixels, and its steps are 1 / s as high: so the
    scale shrinks by s and the smallest segment by s**2.

    References
    ----------
    Felzenszwalb and Huttenlocher, IJCV 2004.
    """

    scales: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = constant(
        (500, 1000), "ConST-CL supplement"
    )
    sigma: float = Field(1.6, ge=0)
    min_area: float = Field(0.5, gt=0)
    short_side: int | None = Field(60, ge=8)
    backend: Literal["skimage", "opencv"] = "opencv"
    max_boxes: int | None = Field(32, ge=1)

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> list[NDArray[np.integer]]:
        """One label map (h, w) a scale."""
        run = _opencv if self.backend == "opencv" else _skimage
        least = [ceil(self.min_area * scale * shrink**2) for scale in self.scales]
        return [
            run(frame_HWC, scale=scale * shrink, sigma=self.sigma * shrink, min_size=size)
            for scale, size in zip(self.scales, least, strict=True)
        ]


def _skimage(
    frame_HWC: NDArray[np.uint8], *, scale: float, sigma: float, min_size: int
) -> NDArray[np.integer]:
    from skimage.segmentation import felzenszwalb

    labels_HW: NDArray[np.integer] = felzenszwalb(
        frame_HWC, scale=scale, sigma=sigma, min_size=min_size, channel_axis=-1
    )
    return labels_HW


def _opencv(
    frame_HWC: NDArray[np.uint8], *, scale: float, sigma: float, min_size: int
) -> NDArray[np.integer]:
    from cv2.ximgproc.segmentation import createGraphSegmentation

    segmenter = createGraphSegmentation(max(sigma, 1e-3), scale, min_size)
    return np.asarray(segmenter.processImage(frame_HWC))
