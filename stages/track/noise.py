"""How noisy frames are, and how to smooth them so that it does not matter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_PAIRS = 8  # of neighbouring frames that are looked at
_CELLS, _QUIET = (8, 6), 0.1  # of each pair: the share of cells in which nothing happens
_TO_SIGMA = np.sqrt(np.pi) / 2  # from the mean size of a difference to the noise of one frame
_TEXTURE = 4.0  # levels: more is a texture that moves
_LEAST, _MOST = 0.5, 2.5  # sigmas of a Gaussian that are worth it, and that leave an outline


def noise_level(grey_THW: NDArray[np.uint8]) -> float:
    """Standard deviation of the noise in grey levels.

    The change from frame to frame where the picture changes least: too much where the
    camera moves over a texture.
    """
    count = len(grey_THW)
    if count < 2:
        return 0.0
    found = []
    for t in np.unique(np.linspace(1, count - 1, min(_PAIRS, count - 1)).round().astype(int)):
        change = cv2.absdiff(grey_THW[t], grey_THW[t - 1]).astype(np.float32)
        cells = cv2.resize(change, _CELLS, interpolation=cv2.INTER_AREA)
        found.append(float(np.quantile(cells, _QUIET)))
    level = float(np.median(found)) * _TO_SIGMA
    return level if level < _TEXTURE else 0.0


def smooth(image_THW: NDArray[np.uint8], noise: float, *, left: float) -> NDArray[np.uint8]:
    """The frames, smoothed until white noise of a level is down to `left` levels."""
    sigma = min(_MOST, noise / (2 * np.sqrt(np.pi) * left))
    if sigma < _LEAST:
        return image_THW
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in image_THW])
