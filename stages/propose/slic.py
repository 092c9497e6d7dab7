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
    short_side : int, optional
        60 is enough for 16 superpixels; 64 want 120.

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
        return [run(lab_colours(frame_HWC, sigma=self.sigma * shrink), self)]


def lab_colours(frame_HWC: NDArray[np.uint8], *, sigma: float) -> NDArray[np.float32]:
    """Blurred CIE Lab (H, W, 3), float32, of an RGB frame of which the contrast is made full.

    What scikit-image's ``slic`` makes of an image, ten times as fast.
    """
    import cv2

    full = cv2.normalize(np.float32(frame_HWC), None, 0, 1, cv2.NORM_MINMAX)
    lab = cv2.cvtColor(full, cv2.COLOR_RGB2LAB)
    if sigma > 0:
        lab = cv2.GaussianBlur(lab, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(lab, np.float32)


def _skimage(lab_HWC: NDArray[np.float32], stage: Slic) -> NDArray[np.integer]:
    from skimage.segmentation import slic

    labels_HW: NDArray[np.integer] = slic(
        lab_HWC,
        n_segments=stage.num_segments,
        # It scales what it is given to 0..1; the weight of colours stays what it was.
        compactness=stage.compactness / max(float(np.ptp(lab_HWC)), 1e-6),
        min_size_factor=stage.min_area,
        convert2lab=False,
        start_label=0,
        channel_axis=-1,
    )
    return labels_HW


def _opencv(lab_HWC: NDArray[np.float32], stage: Slic) -> NDArray[np.integer]:
    import cv2

    height, width = lab_HWC.shape[:2]
    side = round((height * width / stage.num_segments) ** 0.5)
    # It divides by zero where the first row of its grid would lie outside the image.
    side = max(1, min(side, 2 * min(height, width) - 1))
    found = cv2.ximgproc.createSuperpixelSLIC(lab_HWC, cv2.ximgproc.SLIC, side, stage.compactness)
    found.iterate(10)
    found.enforceLabelConnectivity(max(1, round(100 * stage.min_area)))
    return np.asarray(found.getLabels())
