"""Motion between neighbouring frames, and what is left of it without the camera's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_cv2: Any = cv2  # its stubs lack DIS
_GRID = 8  # pixels between the flow vectors that the camera's motion is fitted to
_RANSAC_PIXELS = 0.5


@dataclass(frozen=True, repr=False)
class Motion:
    """Motion of T frames, at working resolution.

    Parameters
    ----------
    flow_THW2 : ndarray of shape (T-1, H, W, 2), float32
        From frame *t* to *t+1*, pixels.
    residual_THW : ndarray of shape (T-1, H, W), float32
        Length of the flow that is left when the camera's is taken away.
    cut_T : ndarray of shape (T-1,), bool
        Whether a scene cut lies between *t* and *t+1*.
    """

    flow_THW2: NDArray[np.float32]
    residual_THW: NDArray[np.float32]
    cut_T: NDArray[np.bool_]


def measure_motion(grey_THW: NDArray[np.uint8], *, cut_error: float) -> Motion:
    """Dense flow (DIS, Kroeger et al. 2016) minus a homography per frame pair.

    Parameters
    ----------
    grey_THW : ndarray of shape (T, H, W), uint8
    cut_error : float
        Mean absolute grey difference after warping that means a cut.
    """
    steps = len(grey_THW) - 1
    height, width = grey_THW.shape[1:]
    flow_THW2 = np.zeros((steps, height, width, 2), np.float32)
    residual_THW = np.zeros((steps, height, width), np.float32)
    cut_T = np.zeros(steps, np.bool_)
    dis = _cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    grid = _pixel_grid(height, width)
    for t in range(steps):
        flow = dis.calc(grey_THW[t], grey_THW[t + 1], None)
        back = cv2.remap(grey_THW[t + 1], grid + flow, None, cv2.INTER_LINEAR)
        error = float(cv2.absdiff(back, grey_THW[t]).mean())
        cut_T[t] = error > cut_error
        flow_THW2[t] = flow
        if not cut_T[t]:
            residual_THW[t] = np.linalg.norm(flow - camera_flow(flow, grid), axis=-1)
    return Motion(flow_THW2, residual_THW, cut_T)


def camera_flow(
    flow_HW2: NDArray[np.float32], grid_HW2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Flow of the background: a homography through most of the vectors.

    OpenCV's RANSAC starts its generator anew in each call, so the result depends on
    nothing but the flow.
    """
    start = grid_HW2[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    end = start + flow_HW2[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    homography, _ = cv2.findHomography(start, end, cv2.RANSAC, _RANSAC_PIXELS)
    if homography is None:  # no consensus, such as a blank frame: take the median shift
        return np.broadcast_to(np.median(end - start, axis=0), flow_HW2.shape).astype(np.float32)
    moved = cv2.perspectiveTransform(grid_HW2, homography)
    return np.asarray(moved - grid_HW2, np.float32)


def warp(image_HW: NDArray[np.float32], flow_HW2: NDArray[np.float32]) -> NDArray[np.float32]:
    """Image read at ``x + flow(x)``; zero beyond the border."""
    grid = _pixel_grid(*image_HW.shape)
    return np.asarray(cv2.remap(image_HW, grid + flow_HW2, None, cv2.INTER_LINEAR), np.float32)


def _pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([x, y], axis=-1)
