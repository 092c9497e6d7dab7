"""What a scene looks like without its moving objects: a mosaic of masked medians."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import warp

_LEAST = 4  # frames that a mosaic can be made of
_LEAST_SHARE = 0.05  # of the frames that show a pixel, how many must show it at rest
_END, _IDENTITY = 2, np.eye(3)  # samples at each end
_TOLERANCE, _SIGMAS = 3.0, 3.5  # levels, robust deviations of the noise
_NEIGHBOURS, _RIM = np.ones((3, 3), np.uint8), np.ones((7, 7), np.uint8)
_OUTLINE, _MIXED = np.ones((3, 3), np.uint8), 4  # see `Mosaic.differs`
_SLACK = 0.15, 0.4  # pixels that the mosaic may be off by: the camera rests, or moves


@dataclass(frozen=True, repr=False)
class Mosaic:
    """The range that the background has at each pixel of a canvas.

    Parameters
    ----------
    middle_HW : ndarray of shape (H', W'), uint8
        The most likely level.
    bounds_HW3 : ndarray of shape (H', W', 3), uint8
        Lowest and highest level, and 255 where the background was seen; where it was not,
        all levels are in the range.
    """

    middle_HW: NDArray[np.uint8]
    bounds_HW3: NDArray[np.uint8]

    def differs(
        self, image_HW: NDArray[np.uint8], from_canvas_33: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Which pixels (H, W) of a frame are out of the range, and where that is known.

        Both are 255 for yes. The map leads from the canvas onto the frame.
        """
        low, high, known = cv2.split(warp(self.bounds_HW3, from_canvas_33, image_HW.shape))
        # Exposure: the whole frame may be brighter than the background by a few levels.
        sure = known[::8, ::8] == 255
        middle = (low[::8, ::8].astype(np.int16) + high[::8, ::8]) // 2
        offsets = (image_HW[::8, ::8] - middle)[sure]
        offset = float(np.median(offsets)) if len(offsets) else 0.0
        level = cv2.add(image_HW, -offset) if abs(offset) >= 1 else image_HW
        away = cv2.max(cv2.subtract(low, level), cv2.subtract(level, high))
        # The pixels of an outline are mixed: they belong to what they show most of.
        out = cv2.compare(away, cv2.dilate(away, _OUTLINE) // _MIXED, cv2.CMP_GT)
        return np.asarray(out, np.uint8), np.asarray(known, np.uint8)


def mosaic(
    image_THW: NDArray[np.uint8],
    hidden_THW: NDArray[np.uint8],
    to_canvas_T33: NDArray[np.float64],
    size: tuple[int, int],
    *,
    flicker: float,
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
    flicker : float
        Levels by which a pixel may stray beyond the noise; more is something that came and went.

    Notes
    -----
    An object that comes, rests for most of the time and goes would be the median: where a
    resting camera sees the same at the beginning and at the end, that is the background.
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
    ends = _ends(image_THW, to_canvas_T33, size) if shown.min() == len(stack) else None
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
    tolerance += np.clip(spread - 1.35 * noise, 0, flicker)
    if ends is not None:
        before, strays = ends
        back = (strays <= tolerance) & (np.abs(before - middle) > tolerance)
        back = cv2.morphologyEx(back.astype(np.uint8), cv2.MORPH_OPEN, _NEIGHBOURS) > 0
        middle[back], known[back] = before[back], True
    slack = _SLACK[int(moves)]
    high = middle + tolerance + slack * (cv2.dilate(middle, _NEIGHBOURS) - middle)
    low = middle - tolerance - slack * (middle - cv2.erode(middle, _NEIGHBOURS))
    high, low = (np.clip(one, 0, 255).astype(np.uint8) for one in (high, low))
    low[~known], high[~known] = 0, 255
    bounds = np.stack([low, high, known.astype(np.uint8) * 255], axis=-1)
    return Mosaic(middle.astype(np.uint8), bounds)


def _ends(
    image_THW: NDArray[np.uint8], to_canvas_T33: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Mean (H', W') of the first and the last samples of a resting camera, and their range."""
    if len(image_THW) < 4 * _END or np.any(to_canvas_T33 != _IDENTITY):
        return None
    both = np.concatenate([image_THW[:_END], image_THW[-_END:]])
    return both.mean(axis=0, dtype=np.float32), np.ptp(both, axis=0).astype(np.float32)
