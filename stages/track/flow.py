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
_CELLS, _CELL_GAIN = 4, 0.5  # see `own_motion`; grey levels
_GRADIENT = 1.0  # grey levels a pixel
_DETAIL = 15  # pixels: what is wider is light and shade
_WINDOW = 5  # pixels over which the proof of a motion is averaged


@dataclass(frozen=True, repr=False)
class Motion:
    """Motion of T frames, at working resolution.

    Parameters
    ----------
    forward_THW2, backward_THW2 : ndarray of shape (T, H, W, 2), float32
        Flow in pixels to the next and to the previous frame; zero where there is none.
    residual_THW : ndarray of shape (T, H, W), float32
        Length in pixels of the flow that is left when the camera's is taken away.
    proof_THW : ndarray of shape (T, H, W), float32
        Grey levels by which the flow explains the neighbouring frames better than the
        camera's motion does.
    textured_THW : ndarray of shape (T, H, W), bool
        Whether the picture would show a motion here at all.
    cut_T : ndarray of shape (T,), bool
        Whether a scene starts here: nothing is carried from the previous frame.
    """

    forward_THW2: NDArray[np.float32]
    backward_THW2: NDArray[np.float32]
    residual_THW: NDArray[np.float32]
    proof_THW: NDArray[np.float32]
    textured_THW: NDArray[np.bool_]
    cut_T: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Motion{self.residual_THW.shape}"


def measure_motion(grey_THW: NDArray[np.uint8], *, min_match: float) -> Motion:
    """Dense flow in both directions, minus the camera's.

    Parameters
    ----------
    grey_THW : ndarray of shape (T, H, W), uint8
        At least two frames.
    min_match : float
        Correlation of two frames, after flow has moved one onto the other, below which
        they belong to two scenes.

    Notes
    -----
    A pixel's residual and proof are the smaller of the two directions. Background that an
    object is about to cover, or has just left, has no counterpart in one of the two
    frames, so its flow there is nonsense; the object itself moves in both.

    References
    ----------
    Kroeger et al., *Fast Optical Flow using Dense Inverse Search*, ECCV 2016.
    """
    shape = grey_THW.shape
    forward_THW2, backward_THW2 = np.zeros((2, *shape, 2), np.float32)
    residual_THW, proof_THW = np.full((2, *shape), np.inf, np.float32)
    cut_T = np.zeros(len(grey_THW), np.bool_)
    cut_T[0] = True
    dis = _cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # of the working resolution: outlines decide the quality of a mask
    for t in range(len(grey_THW) - 1):
        here, there = grey_THW[t], grey_THW[t + 1]
        there_HW2, here_HW2 = dis.calc(here, there, None), dis.calc(there, here, None)
        cut_T[t + 1] = min(match(here, there, there_HW2), match(there, here, here_HW2)) < min_match
        if cut_T[t + 1]:
            continue
        forward_THW2[t], backward_THW2[t + 1] = there_HW2, here_HW2
        for i, flow, source, target in (
            (t, there_HW2, here, there),
            (t + 1, here_HW2, there, here),
        ):
            residual, proof = own_motion(source, target, flow)
            np.minimum(residual_THW[i], residual, out=residual_THW[i])
            np.minimum(proof_THW[i], proof, out=proof_THW[i])
    alone = np.isinf(residual_THW[:, 0, 0])  # a scene of one frame
    residual_THW[alone] = proof_THW[alone] = 0
    textured_THW = np.stack([textured(grey) for grey in grey_THW])
    return Motion(forward_THW2, backward_THW2, residual_THW, proof_THW, textured_THW, cut_T)


def own_motion(
    source_HW: NDArray[np.uint8], target_HW: NDArray[np.uint8], flow_HW2: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Residual (pixels) and proof (grey levels) of a flow, each (H, W); see `Motion`.

    Notes
    -----
    A camera moves everything: its motion must explain the frames better than rest does in
    half of 4 x 4 cells. Else the one textured thing before a plain wall would be the
    background, and the wall would move.
    """
    camera_HW2 = camera_flow(flow_HW2)
    error_HW = _error(source_HW, target_HW, camera_HW2)
    resting_HW = _error(source_HW, target_HW, np.zeros_like(flow_HW2))
    cells = cv2.resize(resting_HW - error_HW, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    if (cells > _CELL_GAIN).mean() < 0.5:
        camera_HW2, error_HW = np.zeros_like(flow_HW2), resting_HW
    residual = np.linalg.norm(flow_HW2 - camera_HW2, axis=-1)
    gain = error_HW - _error(source_HW, target_HW, flow_HW2)
    return residual, np.asarray(cv2.blur(gain, (_WINDOW, _WINDOW)), np.float32)


def textured(grey_HW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels (H, W) near which grey changes, by more than a sensor's noise."""
    smooth = cv2.GaussianBlur(grey_HW.astype(np.float32), (0, 0), 1.5)
    rows, columns = np.gradient(smooth)
    return np.asarray(cv2.blur(np.hypot(rows, columns), (_WINDOW, _WINDOW)) > _GRADIENT)


def match(
    source_HW: NDArray[np.uint8], target_HW: NDArray[np.uint8], flow_HW2: NDArray[np.float32]
) -> float:
    """Correlation (-1..1) of the details of two frames after warping.

    Details only, so that a flash or a passing shade is no cut.
    """
    fine = [
        image - cv2.blur(image, (_DETAIL, _DETAIL))
        for image in (_warped(target_HW, flow_HW2), source_HW.astype(np.float32))
    ]
    power = float(np.sqrt((fine[0] ** 2).mean() * (fine[1] ** 2).mean()))
    return float((fine[0] * fine[1]).mean()) / max(power, 1e-6)


def camera_flow(flow_HW2: NDArray[np.float32]) -> NDArray[np.float32]:
    """Flow of the background: the homography that most of the vectors agree on.

    OpenCV's RANSAC starts its generator anew in each call, so the result depends on
    nothing but the flow.
    """
    grid_HW2 = pixel_grid(*flow_HW2.shape[:2])
    start = grid_HW2[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    end = start + flow_HW2[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    homography, _ = cv2.findHomography(start, end, cv2.RANSAC, _RANSAC_PIXELS)
    if homography is None:  # no consensus, such as a blank frame: take the median shift
        return np.broadcast_to(np.median(end - start, axis=0), flow_HW2.shape).astype(np.float32)
    moved = cv2.perspectiveTransform(grid_HW2, homography)
    return np.asarray(moved - grid_HW2, np.float32)


def warp(image_HW: NDArray[np.float32], flow_HW2: NDArray[np.float32]) -> NDArray[np.float32]:
    """Image read at ``x + flow(x)``; zero beyond the border."""
    grid = pixel_grid(*image_HW.shape)
    return np.asarray(cv2.remap(image_HW, grid + flow_HW2, None, cv2.INTER_LINEAR), np.float32)


def pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    """(x, y) of each pixel, shape (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def _error(
    source_HW: NDArray[np.uint8], target_HW: NDArray[np.uint8], flow_HW2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Absolute grey difference after warping."""
    return np.abs(_warped(target_HW, flow_HW2) - source_HW)


def _warped(image_HW: NDArray[np.uint8], flow_HW2: NDArray[np.float32]) -> NDArray[np.float32]:
    """Image read at ``x + flow(x)``; the border goes on beyond itself."""
    at = pixel_grid(*image_HW.shape) + flow_HW2
    back = cv2.remap(image_HW, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.float32)
