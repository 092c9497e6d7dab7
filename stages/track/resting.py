"""Things at rest that moved before, or will move: what cannot be told from the scene by motion."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import warp

_STREAK = 4  # frames that a thing must have moved
_MOVES = 0.4  # share of a thing: if so much moves, the whole does
_JOIN = np.ones((5, 5), np.uint8)


def resting(
    moving_Thw: NDArray[np.uint8],
    changed_Thw: NDArray[np.uint8],
    camera_T33: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Where (T, h, w) something rests that moved before or moves later in the shot.

    Parameters
    ----------
    moving_Thw : ndarray of shape (T, h, w), uint8
        1 where something moves unlike the camera.
    changed_Thw : ndarray of shape (T, h, w), uint8
        1 where a frame differs from the one before, camera undone.
    camera_T33 : ndarray of shape (T, 3, 3), float64
        Maps a pixel of this resolution onto the frame before.

    Notes
    -----
    A thing that stops moving is held where it is until most of it moves again or the
    picture changes there; in both directions of time.
    """
    solid = np.stack([cv2.morphologyEx(one, cv2.MORPH_CLOSE, _JOIN) for one in moving_Thw])
    forth = _held(solid, changed_Thw, np.linalg.inv(camera_T33))
    # Back in time, what changes between t and t + 1 is noted at t + 1.
    back = _held(
        solid[::-1],
        np.concatenate([changed_Thw[:1] * 0, changed_Thw[:0:-1]]),
        np.concatenate([np.eye(3)[None], camera_T33[:0:-1]]),
    )[::-1]
    return forth | back


def _held(
    moving_Thw: NDArray[np.uint8], changed_Thw: NDArray[np.uint8], to_here_T33: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """In one direction; maps lead from the frame looked at before onto this one."""
    out = np.zeros_like(moving_Thw)
    held = np.zeros(moving_Thw.shape[1:], np.uint8)  # number of frames seen moving
    for t, (moving, changed) in enumerate(zip(moving_Thw, changed_Thw, strict=True)):
        if held.any():
            held = warp(held, to_here_T33[t], held.shape, nearest=True)
        streak = cv2.min(moving, 1)
        if held.any():
            count, labels = cv2.connectedComponents(np.minimum(held, 1))
            flat, moves = labels.ravel(), moving.ravel() > 0
            size = np.bincount(flat, minlength=count)
            share = np.bincount(flat[moves], minlength=count) / np.maximum(size, 1)
            stays = (share < _MOVES)[labels] & (held >= _STREAK) & (changed == 0)
            near = cv2.dilate(held, _JOIN)
            streak = np.where(moving > 0, cv2.add(near, 1), np.where(stays, held, 0)).astype(np.uint8)
        held = streak
        out[t] = (held >= _STREAK) & (moving == 0)
    return out
