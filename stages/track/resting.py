"""Things at rest that moved before, or will move: what motion alone cannot tell from the scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import warp

_STREAK = 4  # frames that a thing must have moved
_LEAVES = 0.2  # share of a thing: if so much moves or changes, it is no longer held
_CHANGES = 0.1  # share of a thing that moves: the least that changes with it
_JOIN = np.ones((5, 5), np.uint8)
_HALO = np.ones((7, 7), np.uint8)  # how far a thing's motion leaks into its surroundings


def resting(
    moving_Thw: NDArray[np.uint8],
    changed_Thw: NDArray[np.uint8],
    camera_T33: NDArray[np.float64],
    *,
    min_area: float,
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
    min_area : float
        Least area of a thing as a fraction of the frame.

    Notes
    -----
    A thing that stops moving is held where it is until it moves again or the picture
    changes there, in both directions of time: what came and stayed, what stood there and
    left, and what did both.
    """
    solid = np.stack([_solid(*one) for one in zip(moving_Thw, changed_Thw, strict=True)])
    least = min_area * solid[0].size
    forth = _held(solid, changed_Thw, np.asarray(np.linalg.inv(camera_T33), np.float64), least)
    # Back in time, what moves and changes from t to t + 1 is noted at t + 1.
    none = np.zeros_like(solid[:1])
    moving, changed = (np.concatenate([none, one[:0:-1]]) for one in (solid, changed_Thw))
    camera = np.concatenate([np.eye(3)[None], camera_T33[:0:-1]])
    return forth | _held(moving, changed, camera, least)[::-1]


def _solid(moving_hw: NDArray[np.uint8], changed_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What moves, without holes, and without what is merely dragged along and looks the same."""
    solid = cv2.morphologyEx(moving_hw, cv2.MORPH_CLOSE, _JOIN)
    count, labels = cv2.connectedComponents(solid)
    area = np.bincount(labels.ravel(), minlength=count)
    changed = np.bincount(labels.ravel()[changed_hw.ravel() > 0], minlength=count)
    moves = changed >= _CHANGES * area
    moves[0] = False
    return moves[labels].astype(np.uint8)


def _held(
    moving_Thw: NDArray[np.uint8],
    changed_Thw: NDArray[np.uint8],
    to_here_T33: NDArray[np.float64],
    least: float,
) -> NDArray[np.uint8]:
    """In one direction; maps lead from the frame looked at before onto this one."""
    out = np.zeros_like(moving_Thw)
    height, width = moving_Thw.shape[1:]
    streak = np.zeros((height, width), np.uint8)  # frames that the thing here moved for
    for t, (moving, changed) in enumerate(zip(moving_Thw, changed_Thw, strict=True)):
        if streak.any():
            streak = warp(streak, to_here_T33[t], (height, width), nearest=True)
            count, labels = cv2.connectedComponents(cv2.min(streak, 1))
            flat, leaves = labels.ravel(), (moving | changed).ravel() > 0
            area = np.bincount(flat, minlength=count)
            left = np.bincount(flat[leaves], minlength=count)
            stays = (left < _LEAVES * area) & (area >= least)
            held = stays[labels] & (streak >= _STREAK) & (cv2.dilate(changed, _HALO) == 0)
            longer = cv2.add(cv2.dilate(streak, _JOIN), 1)
            streak = np.where(moving > 0, longer, np.where(held, streak, 0)).astype(np.uint8)
            out[t] = held & (moving == 0)
        else:
            streak = cv2.min(moving, 1)
    return out
