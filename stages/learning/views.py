"""Geometry of a clip: sampled once, then applied to all frames alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CropAndFlip:
    """Resize so that the short side is ``short_side``, cut a square, maybe mirror it.

    ``left`` and ``top`` are pixels of the resized frame.
    """

    short_side: int
    left: int
    top: int
    size: int
    flip: bool

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        *,
        height: int,
        width: int,
        size: int,
        short_side: int,
        flip_probability: float,
    ) -> CropAndFlip:
        """Draw a crop position uniformly and a flip."""
        new_height, new_width = resized(height, width, short_side)
        return cls(
            short_side=short_side,
            left=int(rng.integers(0, new_width - size + 1)),
            top=int(rng.integers(0, new_height - size + 1)),
            size=size,
            flip=bool(rng.random() < flip_probability),
        )

    def apply(self, clip_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cropped clip of shape (T, size, size, 3), bilinear."""
        _, height, width, _ = clip_THWC.shape
        new_height, new_width = resized(height, width, self.short_side)
        out_THWC = np.empty((len(clip_THWC), self.size, self.size, 3), np.uint8)
        for t, frame in enumerate(clip_THWC):
            if (height, width) != (new_height, new_width):
                frame = cv2.resize(frame, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
            out_THWC[t] = frame[self.top : self.top + self.size, self.left : self.left + self.size]
        return out_THWC[:, :, ::-1] if self.flip else out_THWC


def resized(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Height and width after scaling the short side, aspect kept."""
    scale = short_side / min(height, width)
    return max(short_side, round(height * scale)), max(short_side, round(width * scale))
