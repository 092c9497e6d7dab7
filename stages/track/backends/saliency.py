"""Objects are what stands out in each single frame; motion only links them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.track.backend import Backend
from stages.track.flow import Motion
from stages.track.footage import Footage
from stages.track.foreground import Regions, label


class Saliency(Backend, version=1):
    """Classic image saliency, without weights; finds objects that never move, too.

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
        """Regions that stand out; all of their evidence is that they do."""
        detector = self._detector()
        labels_THW = np.zeros(footage.planes[0].shape, np.uint8)
        strength = []
        for t in range(len(footage)):
            salient = stands_out(detector, footage.colour(t), factor=self.factor)
            labels_THW[t], share = label(salient, salient, min_area=min_area)
            strength.append(share)
        return Regions(labels_THW, strength)

    def _detector(self) -> Any:
        import cv2

        found: Any = cv2
        if self.algorithm == "fine_grained":
            return found.saliency.StaticSaliencyFineGrained_create()
        return found.saliency.StaticSaliencySpectralResidual_create()


def stands_out(detector: Any, image_HWC: NDArray[np.uint8], *, factor: float) -> NDArray[np.uint8]:
    """Pixels (H, W), 0 or 1, of `factor` times the mean saliency of an RGB frame."""
    done, saliency = detector.computeSaliency(np.ascontiguousarray(image_HWC[..., ::-1]))
    if not done:
        return np.zeros(image_HWC.shape[:2], np.uint8)
    return (saliency > max(factor * float(saliency.mean()), 1e-6)).astype(np.uint8)
