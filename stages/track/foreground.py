"""From residual motion to masks of moving objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion, warp

_DECAY = 0.85  # what is left of a frame's evidence one frame later
_EDGE = 0.5  # flow is smooth: an object's outline lies where half of its motion is left
_KERNEL = np.ones((3, 3), np.uint8)


def accumulate(
    motion: Motion, *, min_motion: float, noise_factor: float, min_proof: float
) -> NDArray[np.float32]:
    """Evidence of own motion in each frame, carried along the flow to its neighbours.

    Parameters
    ----------
    motion : Motion
    min_motion : float
        Least residual motion that counts, in pixels a frame.
    noise_factor : float
        A residual counts if it is this many robust deviations above the frame's median.
    min_proof : float
        Grey levels, see `proven`.

    Returns
    -------
    ndarray of shape (T, H, W), float32
        Residual motion over its threshold, fading forward and backward in time: an object
        that rests for some frames, or whose inside looks still, stays whole.
    """
    own = np.stack(
        [
            proven(evidence(r, min_motion=min_motion, noise_factor=noise_factor), p, min_proof)
            for r, p in zip(motion.residual_THW, motion.proof_THW, strict=True)
        ]
    )
    past, future = own.copy(), own.copy()
    for t in range(1, len(own)):
        if not motion.cut_T[t]:
            carried = warp(past[t - 1], motion.backward_THW2[t])
            np.maximum(past[t], _DECAY * carried, out=past[t])
    for t in range(len(own) - 2, -1, -1):
        if not motion.cut_T[t + 1]:
            carried = warp(future[t + 1], motion.forward_THW2[t])
            np.maximum(future[t], _DECAY * carried, out=future[t])
    return np.asarray((past + future) / 2, np.float32)


def evidence(
    residual_HW: NDArray[np.float32], *, min_motion: float, noise_factor: float
) -> NDArray[np.float32]:
    """Residual motion of a frame over its threshold: above 1 counts."""
    median = float(np.median(residual_HW))
    deviation = 1.4826 * float(np.median(np.abs(residual_HW - median)))
    return residual_HW / np.float32(max(min_motion, median + noise_factor * deviation))


def proven(
    evidence_HW: NDArray[np.float32], proof_HW: NDArray[np.float32], min_proof: float
) -> NDArray[np.float32]:
    """Evidence of the regions whose motion shows in the picture; zero elsewhere.

    The flow of a wall or a sky is a guess. A region that moves is betrayed by its outline
    or texture: a tenth of its pixels must be explained better, by `min_proof` grey levels,
    by their own motion than by the camera's. The rest of it may be smooth.
    """
    count, labels = cv2.connectedComponents((evidence_HW > 1).astype(np.uint8))
    area = np.bincount(labels.ravel(), minlength=count)
    shown = np.bincount(labels.ravel(), (proof_HW > min_proof).ravel(), minlength=count)
    keep = shown >= 0.1 * area
    keep[0] = False
    return np.where(keep[labels], evidence_HW, np.float32(0))


def moving_regions(evidence_HW: NDArray[np.float32], *, min_area: float) -> list[NDArray[np.bool_]]:
    """Masks of the connected regions of a frame that move on their own, largest first.

    Parameters
    ----------
    evidence_HW : ndarray of shape (H, W), float32
        From `accumulate`; above 1 counts.
    min_area : float
        Least area as a fraction of the frame.
    """
    loose = cv2.morphologyEx((evidence_HW > 1).astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    found = []
    for blob in _components(loose, min_area):
        level = _EDGE * float(np.percentile(evidence_HW[blob], 80))
        tight = (blob & (evidence_HW > level)).astype(np.uint8)
        tight = cv2.morphologyEx(tight, cv2.MORPH_CLOSE, _KERNEL, iterations=2)
        tight = cv2.morphologyEx(tight, cv2.MORPH_OPEN, _KERNEL)
        found += _components(tight, min_area)
    return sorted(found, key=lambda mask: -int(mask.sum()))


def _components(mask_HW: NDArray[np.uint8], min_area: float) -> list[NDArray[np.bool_]]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask_HW, connectivity=8)
    least = min_area * mask_HW.size
    return [labels == i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= least]
