"""From residual motion to masks of moving objects."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.flow import Motion, warp

CERTAIN = 3.0  # more evidence makes nothing surer; parts of a body move at different speeds
_DECAY = 0.75  # what is left of a frame's evidence one frame later
_EDGE = 0.6  # flow is smooth: an outline lies where this share of the motion is left
_HALO = np.ones((13, 13), np.uint8)  # how far an object's motion leaks into its surroundings
_NEAR = np.ones((7, 7), np.uint8)  # how far from its proof a motion is believed
_JOIN = np.ones((5, 5), np.uint8)
_KERNEL = np.ones((3, 3), np.uint8)


def own_evidence(
    residual_HW: NDArray[np.float32],
    proof_HW: NDArray[np.float32],
    textured_HW: NDArray[np.bool_],
    *,
    min_motion: float,
    noise_factor: float,
    min_proof: float,
) -> NDArray[np.float32]:
    """Evidence (H, W) of own motion in one frame: 1 is enough, `CERTAIN` the most.

    Parameters
    ----------
    residual_HW, proof_HW, textured_HW : ndarray of shape (H, W)
        See `Motion`.
    min_motion : float
        Least residual motion that counts, in pixels a frame.
    noise_factor : float
        A residual counts if it is this many robust deviations above the frame's median;
        what has no texture is taken to rest.
    min_proof : float
        Grey levels that the proof must reach.

    Notes
    -----
    The flow of a wall or a sky is a guess, and an object drags its surroundings along. So
    a pixel whose picture the camera's motion explains better counts for nothing, as does
    one that moves less than the object beside it, or that lies neither near nor inside an
    outline of proven pixels. And a tenth of a region must be proven: noise is not.
    """
    known = np.where(textured_HW, residual_HW, np.float32(0))
    median = float(np.median(known))
    deviation = 1.4826 * float(np.median(np.abs(known - median)))
    threshold = max(min_motion, median + noise_factor * deviation)
    moves = (residual_HW > threshold) & (proof_HW > -min_proof / 2)
    moves &= residual_HW > _EDGE * cv2.dilate(residual_HW, _HALO)
    shown_HW = moves & (proof_HW > min_proof)
    moves &= _filled(cv2.dilate(shown_HW.astype(np.uint8), _NEAR))
    solid = cv2.morphologyEx(moves.astype(np.uint8), cv2.MORPH_CLOSE, _KERNEL, iterations=2)
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, _KERNEL)
    count, labels = cv2.connectedComponents(solid)
    area = np.bincount(labels.ravel(), minlength=count)
    shown = np.bincount(labels.ravel(), shown_HW.ravel(), minlength=count)
    keep = shown >= 0.1 * area
    keep[0] = False
    strength = np.clip(residual_HW / np.float32(threshold), 1, CERTAIN)
    return np.where(keep[labels], strength, np.float32(0))


def _filled(mask_HW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The mask with its holes."""
    outside = cv2.copyMakeBorder(mask_HW, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2)


def accumulate(
    motion: Motion, *, min_motion: float, noise_factor: float, min_proof: float
) -> NDArray[np.float32]:
    """Evidence of own motion, carried along the flow to the neighbouring frames.

    Parameters
    ----------
    motion : Motion
    min_motion, noise_factor, min_proof : float
        See `own_evidence`.

    Returns
    -------
    ndarray of shape (T, H, W), float32
        Mean of what past and future say, fading with distance: an object that rests for
        some frames between two moves, or is seen in part, stays whole.
    """
    own = np.stack(
        [
            own_evidence(
                *fields,
                min_motion=min_motion,
                noise_factor=noise_factor,
                min_proof=min_proof,
            )
            for fields in zip(
                motion.residual_THW, motion.proof_THW, motion.textured_THW, strict=True
            )
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


def moving_regions(evidence_HW: NDArray[np.float32], *, min_area: float) -> list[NDArray[np.bool_]]:
    """Masks of the regions of a frame that move on their own, largest first.

    Parameters
    ----------
    evidence_HW : ndarray of shape (H, W), float32
        From `accumulate`; 1 is enough.
    min_area : float
        Least area as a fraction of the frame.

    Notes
    -----
    Parts with little between them, such as the limbs of a body, are one region.
    """
    solid = cv2.morphologyEx((evidence_HW >= 1).astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, _KERNEL)
    joined = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, _JOIN, iterations=3)
    count, labels = cv2.connectedComponents(joined)
    labels[solid == 0] = 0
    areas = np.bincount(labels.ravel(), minlength=count)
    areas[0] = 0
    least = max(1, min_area * labels.size)
    return [labels == i for i in np.argsort(-areas, kind="stable") if areas[i] >= least]
