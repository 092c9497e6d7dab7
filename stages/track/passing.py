"""Things too slow or too faint for the flow: what frames some time before and after do not show."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import warp

_APART = 10  # frames between those that are compared
_LEAST, _SIGMAS = 1.5, 7.4  # levels, medians of how far the whole frame differs
_SLACK = 0.5  # of what a pixel's neighbours range over: a moving camera is not known exactly
_KERNEL, _JOIN = np.ones((3, 3), np.uint8), np.ones((5, 5), np.uint8)


def passing(
    planes: Sequence[NDArray[np.uint8]], to_canvas_T33: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Where (T, h, w) a frame is unlike the frame before and unlike the one after, 0 or 1.

    Parameters
    ----------
    planes : sequence of ndarrays of shape (T, H, W) or (T, h, w), uint8
        Grey frames, and their colour at half the resolution.
    to_canvas_T33 : ndarray of shape (T, 3, 3), float64
        Maps the pixels of each frame, at the resolution of the colour, onto a common canvas.

    Notes
    -----
    Three-frame differencing over `_APART` frames, over fewer near the ends. What uncovers the
    background differs from one side only. A gap between two objects that one of them fills
    before and the other after is taken for an object: crowds come out as one.

    References
    ----------
    Collins et al., *A System for Video Surveillance and Monitoring*, CMU-RI-TR-00-12, 2000.
    """
    count, height, width = planes[-1].shape
    size = (width, height)
    out = np.zeros((count, height, width), np.uint8)
    moves = bool(np.any(to_canvas_T33 != to_canvas_T33[0]))
    from_canvas = np.linalg.inv(to_canvas_T33)
    inside = np.full((height, width), 255, np.uint8)
    images = []
    for grey, *colours in zip(*planes, strict=True):
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        images.append(cv2.blur(cv2.merge([small, *colours]), (3, 3)))

    def unlike(t: int, other: int) -> NDArray[np.bool_]:
        there = images[other]
        if moves:
            across = from_canvas[t] @ to_canvas_T33[other]
            there = cv2.warpPerspective(there, across, size)
        away = cv2.absdiff(images[t], there)
        if moves:
            detail = cv2.subtract(cv2.dilate(there, _KERNEL), cv2.erode(there, _KERNEL))
            away = cv2.subtract(away, cv2.convertScaleAbs(detail, alpha=_SLACK))
            away[warp(inside, across, (height, width)) < 255] = 0
        usual = np.median(away[::2, ::2].reshape(-1, away.shape[-1]), axis=0)
        return np.asarray((away > np.maximum(_LEAST, _SIGMAS * usual)).any(axis=-1))

    for t in range(1, count - 1):
        alone = unlike(t, max(0, t - _APART)) & unlike(t, min(count - 1, t + _APART))
        out[t] = cv2.morphologyEx(alone.astype(np.uint8), cv2.MORPH_CLOSE, _JOIN)
    return out
