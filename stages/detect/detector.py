"""What a detector is: parameters, and frames in, boxes with classes and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.variant import Variant


@dataclass(frozen=True)
class Detections:
    """Raw detections of one frame, before thresholds and NMS.

    ``xyxy`` (N, 4) float32 in pixels of the frame, half-open, not yet clipped.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: Sequence[str]


class Detector(Variant):
    """Base of all detectors; weights are loaded once a process, at the first frame.

    An optional dependency is asked for when the detector is constructed, with the install
    line in the error.
    """

    package: ClassVar[str] = "stages.detect.detectors"

    def classes(self) -> Sequence[str] | None:
        """Names the detector can give; None if they are not known beforehand."""
        return None

    def detect(
        self, frames_THWC: NDArray[np.uint8], *, video_id: str, frame_indices: Sequence[int]
    ) -> list[Detections]:
        """Detections of each of the RGB frames."""
        raise NotImplementedError
