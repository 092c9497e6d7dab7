"""Standing people by histograms of gradients: no weights, older and weaker than networks.

References
----------
Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stages.detect.detector import Detections, Detector

# The window of 64 x 128 pixels has a margin of 16 around the person, as the people it was
# trained on had; as parts of the window, for left, top, right and bottom.
_MARGIN = np.array([16 / 64, 16 / 128, -16 / 64, -16 / 128], np.float32)


class Hog(Detector, version=1):
    """OpenCV's people detector.

    Parameters
    ----------
    upscale : float
        Frames are enlarged by this before: the smallest person it can find has about 100
        pixels then.
    scale_step : float
        Ratio of neighbouring window sizes.
    stride : int
        Pixels between windows, a multiple of 8.

    Notes
    -----
    A score is the logistic function of the classifier's margin: in order, but no
    probability. Windows the classifier takes for a person have 0.5 and more.
    """

    upscale: float = Field(2.0, gt=0, le=8)
    scale_step: float = Field(1.05, gt=1, le=2)
    stride: int = Field(8, ge=8, multiple_of=8)

    def classes(self) -> Sequence[str]:
        """People only."""
        return ("person",)

    def detect(
        self, images_NHWC: NDArray[np.uint8], *, threads: int = 1, device: str = "auto"
    ) -> list[Detections]:
        """Detections of each image, on the CPU."""
        return [self._detect_one(image) for image in images_NHWC]

    def _detect_one(self, image_HWC: NDArray[np.uint8]) -> Detections:
        import cv2

        height, width = image_HWC.shape[:2]
        size = round(width * self.upscale), round(height * self.upscale)
        enlarged = cv2.resize(image_HWC, size, interpolation=cv2.INTER_LINEAR)
        if size[0] < 64 or size[1] < 128:  # smaller than the window
            return Detections.join([])
        windows, margins = _descriptor().detectMultiScale(
            cv2.cvtColor(enlarged, cv2.COLOR_RGB2BGR),
            winStride=(self.stride, self.stride),
            scale=self.scale_step,
            groupThreshold=0,  # NMS is the stage's
        )
        xywh = np.asarray(windows, np.float32).reshape(-1, 4)
        margin = np.asarray(margins, np.float32).reshape(-1)
        order = np.lexsort((*xywh.T, -margin))  # threads give them in any order
        xywh, margin = xywh[order], margin[order]
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        xyxy += np.tile(xywh[:, 2:], 2) * _MARGIN
        scale = np.array([width / size[0], height / size[1]] * 2, np.float32)
        scores = (1 / (1 + np.exp(-margin))).astype(np.float32)
        return Detections(xyxy * scale, scores, ["person"] * len(scores))


@cache
def _descriptor() -> Any:
    import cv2

    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
    return hog
