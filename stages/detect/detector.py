"""What a detector is: parameters, and images in, boxes with classes and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.parameters import OWN
from pipeline.variant import Variant
from storage_schemas.frames import Frames


@dataclass(frozen=True)
class Detections:
    """Raw detections of one image, before thresholds and NMS.

    ``xyxy`` (N, 4) float32 in pixels of the image, half-open, not yet clipped.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: Sequence[str]

    @classmethod
    def join(cls, parts: Sequence[Detections]) -> Detections:
        """All of them as one, in order; none give none."""
        return cls(
            xyxy=np.concatenate([np.zeros((0, 4), np.float32), *(one.xyxy for one in parts)]),
            scores=np.concatenate([np.zeros(0, np.float32), *(one.scores for one in parts)]),
            labels=[label for one in parts for label in one.labels],
        )


class Detector(Variant):
    """Base of all detectors; weights are loaded once a process, at the first image.

    An optional dependency is asked for when the detector is constructed, with the install
    line in the error.
    """

    origin = OWN

    package: ClassVar[str] = "stages.detect.detectors"
    uses_device: ClassVar[bool] = False  # works on a GPU where there is one

    def classes(self) -> Sequence[str] | None:
        """Names the detector can give; None if they are not known beforehand."""
        return None

    def detect(
        self, images_NHWC: NDArray[np.uint8], *, threads: int = 1, device: str = "auto"
    ) -> list[Detections]:
        """Detections of each of the RGB images.

        Parameters
        ----------
        images_NHWC : ndarray of shape (N, H, W, 3), uint8
        threads : int
            CPU threads to use.
        device : str
            Torch device string, or ``auto``: a GPU where there is one.
        """
        raise NotImplementedError


class LookUp(Detector):
    """A detector that reads no pixels: its boxes are known by video and frame."""

    package: ClassVar[str] = Detector.package  # a kind of detectors, itself no choice

    def look_up(self, frames: Frames, indices: Sequence[int]) -> list[Detections]:
        """Boxes of the stored frames `indices` of a video."""
        raise NotImplementedError
