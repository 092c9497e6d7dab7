"""SLIC superpixels as proposals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.parameters import constant
from stages.propose.segment_stage import SegmentStage
from stages.propose.superpixels import Superpixels, join_small

_COLD, _WARM = 10, 3  # iterations from the grid, and from the centres of the frame before
_SAMPLES = 8  # a superpixel's side in sampled pixels: enough to move its centre by
_RUN = 32  # frames looked at, after which centres begin at the grid again
_CUT = 7.0  # mean change of Lab: a cut makes more; so may a fast pan, which then costs time only


class Slic(SegmentStage, name="slic", version=3):
    """ConST-CL's SLIC proposals (constcl.md section 2.3).

    The parameters of every segmentation stage, and

    Parameters
    ----------
    backend : {"numpy", "skimage", "opencv"}
        ``numpy`` is our own: scikit-image's clustering, and the only one that takes centres.
    warm_start : bool, optional
        Begin at the centres of the frame looked at before, which takes fewer iterations;
        every 32nd frame and a frame after a cut begin at the grid. None does so wherever
        the back-end can; False lets no frame rest on another.
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

    backend: Literal["numpy", "skimage", "opencv"] = "numpy"
    warm_start: bool | None = None
    num_segments: int = constant(16, "ConST-CL supplement", ge=2)
    compactness: float = Field(10.0, gt=0)
    sigma: float = Field(3.0, ge=0)
    min_area: float = Field(0.25, gt=0, le=0.5)
    short_side: int | None = Field(60, ge=8)

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.warm_start and self.backend != "numpy":
            raise ValueError(
                f"warm_start is true, but the back-end {self.backend} takes no centres: "
                "leave warm_start out, or choose backend numpy"
            )
        return self

    @property
    def run_length(self) -> int:
        return _RUN if self.backend == "numpy" and self.warm_start is not False else 1

    def segment(self, frame_HWC: NDArray[np.uint8], shrink: float) -> list[NDArray[np.integer]]:
        """One label map (h, w), begun at the grid."""
        (maps,) = self.segment_run([frame_HWC], shrink)
        return maps

    def segment_run(
        self, frames_HWC: Iterable[NDArray[np.uint8]], shrink: float
    ) -> Iterator[list[NDArray[np.integer]]]:
        """One label map (h, w) a frame, each begun at the centres of the one before."""
        colours = (lab_colours(frame, sigma=self.sigma * shrink) for frame in frames_HWC)
        if self.backend == "numpy":
            return ([labels] for labels in self._clustered(colours))
        run = _opencv if self.backend == "opencv" else _skimage
        return ([run(lab, self)] for lab in colours)

    def _clustered(self, colours: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.integer]]:
        centres = before = None
        for lab in colours:
            clusters = _superpixels(*lab.shape[:2], self.num_segments, self.compactness)
            if before is not None and np.abs(lab - before).mean() > _CUT:
                centres = None
            labels, centres = clusters.cluster(
                lab,
                centres,
                iterations=_COLD if centres is None else _WARM,
                every=max(1, round(clusters.spacing / _SAMPLES)),
            )
            before = lab
            yield join_small(labels, least=int(self.min_area * clusters.mean_area))


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


@lru_cache(maxsize=16)
def _superpixels(height: int, width: int, num_segments: int, compactness: float) -> Superpixels:
    return Superpixels(height, width, num_segments=num_segments, compactness=compactness)


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
