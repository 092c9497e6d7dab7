"""What a scene looks like without its moving objects: a mosaic of masked medians."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import warp

_LEAST = 4  # frames that a mosaic can be made of
_LEAST_SHARE = 0.15  # of the frames that show a pixel, how many must show it at rest
_TOLERANCE, _SIGMAS = 5.0, 3.5  # levels, robust deviations of the noise
_STRAY = 8.0  # levels: more than this is no flicker but something that came and went
_NEIGHBOURS, _RIM = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)
_SLACK = 0.15, 0.4  # pixels that the mosaic may be off by: the camera rests, or moves


@dataclass(frozen=True, repr=False)
class Mosaic:
    """The range of grey that the background has at each pixel of a canvas.

    Parameters
    ----------
    middle_HW : ndarray of shape (H', W'), uint8
        The most likely grey.
    low_HW, high_HW : ndarray of shape (H', W'), uint8
        Where nothing is known, 255 and 0: no grey is in the range.
    known_HW : ndarray of shape (H', W'), uint8
        255 where the background was seen.
    """

    middle_HW: NDArray[np.uint8]
    low_HW: NDArray[np.uint8]
    high_HW: NDArray[np.uint8]
    known_HW: NDArray[np.uint8]

    def differs(
        self, image_HW: NDArray[np.uint8], to_canvas_33: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which pixels (H, W) of a frame are out of the range, and where that is known."""
        back = np.linalg.inv(to_canvas_33)
        low, high, known = (
            warp(image, back, image_HW.shape)
            for image in (self.low_HW, self.high_HW, self.known_HW)
        )
        sure = known == 255
        # Exposure: the whole frame may be brighter than the background by a few levels.
        middle = (low[::4, ::4].astype(np.int16) + high[::4, ::4]) // 2
        offsets = (image_HW[::4, ::4] - middle)[sure[::4, ::4]]
        offset = float(np.median(offsets)) if len(offsets) else 0.0
        level = cv2.add(image_HW, -offset) if abs(offset) >= 1 else image_HW
        return ((level < low) | (level > high)) & sure, sure


def mosaic(
    image_THW: NDArray[np.uint8],
    hidden_THW: NDArray[np.uint8],
    to_canvas_T33: NDArray[np.float64],
    size: tuple[int, int],
) -> Mosaic | None:
    """Median of what rests, and how far it strays; None for too few frames.

    Parameters
    ----------
    image_THW : ndarray of shape (T, H, W), uint8
    hidden_THW : ndarray of shape (T, H, W), uint8
        Not zero where something hides the background.
    to_canvas_T33 : ndarray of shape (T, 3, 3), float64
    size : tuple of int
        Height and width of the canvas.
    """
    if len(image_THW) < _LEAST:
        return None
    stack = np.full((len(image_THW), *size), 255, np.uint8)
    shown, used = np.zeros((2, *size), np.uint8)
    inside = np.full(image_THW.shape[1:], 1, np.uint8)
    for i, matrix in enumerate(to_canvas_T33):
        here = warp(inside, matrix, size, nearest=True)
        rests = here & ~(warp(hidden_THW[i], matrix, size, nearest=True) > 0)
        shown += here
        used += rests
        np.copyto(stack[i], warp(image_THW[i], matrix, size), where=rests > 0)
    stack.sort(axis=0)  # what is not used comes last
    rank = np.maximum(used.astype(np.int64), 1) - 1
    quarter, middle, last = (
        np.take_along_axis(stack, (rank * part // 4)[None], axis=0)[0].astype(np.float32)
        for part in (1, 2, 3)
    )
    known = used >= np.maximum(2, _LEAST_SHARE * shown)
    moves = bool(np.any(to_canvas_T33 != to_canvas_T33[0]))
    if moves:  # pixels at the rim are mixed with the black around the frames
        known &= cv2.erode((shown > 0).astype(np.uint8), _RIM, borderValue=0) > 0
    if not known.any():
        return None
    spread = last - quarter
    noise = float(np.median(spread[known])) / 1.35  # of a normal distribution
    tolerance = max(_TOLERANCE, _SIGMAS * noise)
    tolerance += np.clip(spread - 1.35 * noise, 0, _STRAY)
    slack = _SLACK[int(moves)]
    high = middle + tolerance + slack * (cv2.dilate(middle, _NEIGHBOURS) - middle)
    low = middle - tolerance - slack * (middle - cv2.erode(middle, _NEIGHBOURS))
    high, low = (np.clip(one, 0, 255).astype(np.uint8) for one in (high, low))
    high[~known], low[~known] = 0, 255
    return Mosaic(middle.astype(np.uint8), low, high, known.astype(np.uint8) * 255)
