"""From residual motion to masks of moving objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion, warp

_DECAY = 0.85  # what is left of a frame's evidence one frame later
_EDGE = 0.7  # flow is smooth: an object's outline lies where most of its motion is left


def accumulate(motion: Motion, *, min_motion: float, noise_factor: float) -> NDArray[np.float32]:
    """Evidence of own motion in each frame, carried along the flow to its neighbours.

    Parameters
    ----------
    motion : Motion
    min_motion : float
        Least residual motion that counts, in pixels a frame.
    noise_factor : float
        A residual counts if it is this many robust deviations above the frame's median.

    Returns
    -------
    ndarray of shape (T, H, W), float32
        Residual motion over its threshold, fading forward and backward in time: an object
        that rests for some frames, or whose inside looks still, stays whole.
    """
    steps, height, width = motion.residual_THW.shape
    own = np.zeros((steps + 1, height, width), np.float32)
    for t in range(steps):
        residual = motion.residual_THW[t]
        median = float(np.median(residual))
        deviation = 1.4826 * float(np.median(np.abs(residual - median)))
        own[t] = residual / max(min_motion, median + noise_factor * deviation)
    own[-1] = own[-2]
    forward, backward = own.copy(), own.copy()
    for t in range(1, steps + 1):
        if not motion.cut_T[t - 1]:
            carried = warp(forward[t - 1], -motion.flow_THW2[t - 1])
            np.maximum(forward[t], _DECAY * carried, out=forward[t])
    for t in range(steps - 1, -1, -1):
        if not motion.cut_T[t]:
            carried = warp(backward[t + 1], motion.flow_THW2[t])
            np.maximum(backward[t], _DECAY * carried, out=backward[t])
    return np.asarray((forward + backward) / 2, np.float32)


def moving_regions(evidence_HW: NDArray[np.float32], *, min_area: float) -> list[NDArray[np.bool_]]:
    """Masks of the connected regions of a frame that move on their own, largest first.

    Parameters
    ----------
    evidence_HW : ndarray of shape (H, W), float32
        From `accumulate`; above 1 counts.
    min_area : float
        Least area as a fraction of the frame.
    """
    kernel = np.ones((3, 3), np.uint8)
    loose = cv2.morphologyEx((evidence_HW > 1).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    found = []
    for blob in _components(loose, min_area):
        level = _EDGE * float(np.percentile(evidence_HW[blob], 80))
        tight = (blob & (evidence_HW > level)).astype(np.uint8)
        tight = cv2.morphologyEx(tight, cv2.MORPH_CLOSE, kernel, iterations=2)
        tight = cv2.morphologyEx(tight, cv2.MORPH_OPEN, kernel)
        found += _components(tight, min_area)
    return sorted(found, key=lambda mask: -int(mask.sum()))


def _components(mask_HW: NDArray[np.uint8], min_area: float) -> list[NDArray[np.bool_]]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask_HW, connectivity=8)
    least = min_area * mask_HW.size
    return [labels == i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= least]
