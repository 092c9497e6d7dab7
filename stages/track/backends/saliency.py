"""Objects are what stands out in each single frame; motion only links them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.track.backend import Backend
from stages.track.flow import Motion
from stages.track.footage import Footage
from stages.track.foreground import Regions
from stages.track.labelling import label


class Saliency(Backend, version=2):
    """Classic image saliency, without weights; finds objects that never move, too.

    Evidence, to which ``track.min_score`` refers, is s / (s + b) for a region's mean saliency
    s and the bound b of `factor`: the default of 0.5 keeps all, 0.6 what stands out by half
    more.

    Parameters
    ----------
    algorithm : {"spectral_residual", "fine_grained"}
        The first takes 0.2 ms a frame, the second about 10 ms.
    factor : float
        A pixel stands out whose saliency is so many times the frame's mean.

    References
    ----------
    Hou and Zhang, *Saliency Detection: A Spectral Residual Approach*, CVPR 2007.
    Montabone and Soto, *Human detection using a mobile platform and novel features derived
    from a visual saliency mechanism*, Image and Vision Computing 2010.
    """

    algorithm: Literal["spectral_residual", "fine_grained"] = "spectral_residual"
    factor: float = Field(3.0, gt=1)

    def regions(
        self,
        footage: Footage,
        motion: Motion,
        *,
        min_area: float,
    ) -> Regions:
        """Regions that stand out, and how far: 0.5 at the bound, 1 for infinitely far."""
        detector = self._detector()
        labels_THW = np.zeros(footage.planes[0].shape, np.uint8)
        strength = []
        for t in range(len(footage)):
            saliency_HW = saliency(detector, footage.colour(t))
            bound = max(self.factor * float(saliency_HW.mean()), 1e-6)
            salient = (saliency_HW > bound).astype(np.uint8)
            labels_THW[t], share = label(salient, salient, min_area=min_area)
            strength.append(_stands_out(labels_THW[t], saliency_HW, bound, len(share)))
        return Regions(labels_THW, strength)

    def _detector(self) -> Any:
        import cv2

        found: Any = cv2
        if self.algorithm == "fine_grained":
            return found.saliency.StaticSaliencyFineGrained_create()
        return found.saliency.StaticSaliencySpectralResidual_create()


def saliency(detector: Any, image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Saliency (H, W) of an RGB frame; zero where the detector finds none."""
    done, found = detector.computeSaliency(np.ascontiguousarray(image_HWC[..., ::-1]))
    if not done:
        return np.zeros(image_HWC.shape[:2], np.float32)
    return np.asarray(found, np.float32)


def _stands_out(
    labels_HW: NDArray[np.uint8], saliency_HW: NDArray[np.float32], bound: float, count: int
) -> NDArray[np.float32]:
    """Mean saliency of each region beside the bound, as a share of both; 0 for no region."""
    flat = labels_HW.ravel()
    size = np.bincount(flat, minlength=count)
    mean = np.bincount(flat, saliency_HW.ravel(), minlength=count) / np.maximum(size, 1)
    # Holes and joints lie below the bound; a region as a whole does not.
    share = np.maximum(mean, bound) / (np.maximum(mean, bound) + bound)
    share[0] = 0
    return share.astype(np.float32)
