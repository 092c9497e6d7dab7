"""SLIC superpixels as proposals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.propose.segment_stage import SegmentStage


class Slic(SegmentStage, name="slic", version=2):
    """ConST-CL's SLIC proposals (constcl.md section 2.3).

    The parameters of every segmentation stage, and

    Parameters
    ----------
    num_segments : int
        Superpixels to aim at; SLIC gives about as many.
    compactness : float
        Weight of nearness against likeness of colour.
    sigma : float
        Blur before segmentation, pixels of the stored frame.
    min_area : float
        Pieces of less than this share of a superpixel's mean area join a neighbour. At
        scikit-image's own 0.5 an object of half a superpixel is never found.

    References
    ----------
    Achanta et al., *SLIC superpixels*, TPAMI 2012.
    """

    num_segments: int = Field(16, ge=2)
    compactness: float = Field(10.0, gt=0)
    sigma: float = Field(3.0, ge=0)
    min_area: float = Field(0.25, gt=0, le=0.5)
    short_side: int | None = Field(60, ge=8)

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> list[NDArray[np.integer]]:
        """One label map (h, w)."""
        run = _opencv if self.backend == "opencv" else _skimage
        return [run(frame_HWC, self, self.sigma * shrink)]


def _skimage(frame_HWC: NDArray[np.uint8], stage: Slic, sigma: float) -> NDArray[np.integer]:
    from skimage.segmentation import slic

    labels_HW: NDArray[np.integer] = slic(
        frame_HWC,
        n_segments=stage.num_segments,
        compactness=stage.compactness,
        sigma=sigma,
        min_size_factor=stage.min_area,
        start_label=0,
        channel_axis=-1,
    )
    return labels_HW


def _opencv(frame_HWC: NDArray[np.uint8], stage: Slic, sigma: float) -> NDArray[np.integer]:
    import cv2

    height, width = frame_HWC.shape[:2]
    # As scikit-image does: contrast made full, and Lab in its own units, not those of 8 bits.
    full = cv2.normalize(np.float32(frame_HWC), None, 0, 1, cv2.NORM_MINMAX)
    lab = cv2.cvtColor(full, cv2.COLOR_RGB2LAB)
    if sigma > 0:
        lab = cv2.GaussianBlur(lab, (0, 0), sigma)
    side = round((height * width / stage.num_segments) ** 0.5)
    # It divides by zero where the first row of its grid would lie outside the image.
    side = max(1, min(side, 2 * min(height, width) - 1))
    found = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, stage.compactness)
    found.iterate(10)
    found.enforceLabelConnectivity(max(1, round(100 * stage.min_area)))
    return np.asarray(found.getLabels())
