"""Motion between neighbouring frames, and what is left of it without the camera's.

Flow is computed at half the working resolution (``h`` x ``w`` against ``H`` x ``W``), where an
outline is as sharp as DIS makes it; all lengths are pixels of the working resolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.camera import camera_between, explains, pixel_grid, texture, warp
from stages.track.noise import noise_level, smooth

_cv2: Any = cv2  # its stubs lack DIS
_MARGIN = 2.0  # pixels from the frame's border within which flow is a guess
_NOISE = 2.0  # grey levels of detail that tell nothing
_SMOOTH = 15, 15  # see `is_cut`
_STEADY = 0.15  # see `steady`
_SPAN = 4  # frames, see `rest`
_LEFT = 0.8  # grey levels of noise that flow can do with
_DETAIL = 7  # pixels of the flow's resolution: what is wider is light and shade


@dataclass(frozen=True, repr=False)
class Motion:
    """Motion of T frames.

    Parameters
    ----------
    backward_Thw2 : ndarray of shape (T, h, w, 2), float32
        Flow to the previous frame; zero where there is none.
    residual_Thw : ndarray of shape (T, h, w), float32
        Length of the flow that is left when the camera's is taken away.
    change_Thw : ndarray of shape (T, h, w), uint8
        Grey levels, mean over 5 x 5 pixels, by which a frame differs from the one before
        when the camera's motion is undone.
    texture_Thw : ndarray of shape (T, h, w), uint8
        Local contrast in grey levels.
    camera_T33 : ndarray of shape (T, 3, 3), float64
        Maps a background pixel onto the previous frame, in working pixels.
    cut_T : ndarray of shape (T,), bool
        Whether a scene starts here: nothing is carried from the previous frame.
    """

    backward_Thw2: NDArray[np.float32]
    residual_Thw: NDArray[np.float32]
    change_Thw: NDArray[np.uint8]
    texture_Thw: NDArray[np.uint8]
    camera_T33: NDArray[np.float64]
    cut_T: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"Motion{self.residual_Thw.shape}"

    def shots(self) -> list[range]:
        """Frames of each scene."""
        starts = np.flatnonzero(self.cut_T).tolist()
        return [range(a, b) for a, b in zip(starts, [*starts[1:], len(self.cut_T)], strict=True)]


def measure_motion(grey_THW: NDArray[np.uint8], *, min_match: float) -> Motion:
    """Dense flow to the previous frame, minus the camera's.

    Parameters
    ----------
    grey_THW : ndarray of shape (T, H, W), uint8
    min_match : float
        Correlation of two frames, after flow has moved one onto the other, below which
        they belong to two scenes.

    References
    ----------
    Kroeger et al., *Fast Optical Flow using Dense Inverse Search*, ECCV 2016.
    """
    count, height, width = grey_THW.shape
    size = max(8, width // 2), max(8, height // 2)
    scale = np.diag([width / size[0], height / size[1], 1.0])
    backward = np.zeros((count, size[1], size[0], 2), np.float32)
    residual = np.zeros((count, size[1], size[0]), np.float32)
    camera = np.tile(np.eye(3), (count, 1, 1))
    cut = np.zeros(count, np.bool_)
    cut[0] = True
    dis = flow_engine()
    grid = pixel_grid(size[1], size[0])
    half = np.stack([cv2.resize(grey, size, interpolation=cv2.INTER_AREA) for grey in grey_THW])
    half = smooth(half, noise_level(half), left=_LEFT)
    grain = np.stack([texture(one) for one in half])
    change = np.zeros_like(half)
    for t in range(1, count):
        before, here = half[t - 1], half[t]
        flow = dis.calc(here, before, None)
        cut[t] = is_cut(here, before, flow, grid, min_match=min_match)
        if not cut[t]:
            backward[t], camera[t] = flow, camera_between(flow, grid, grain[t])
    rest(camera, cut, half)
    steady(camera, cut)
    for t in range(1, count):
        if not cut[t]:
            residual[t] = residual_motion(backward[t], camera[t], grid)
            still = warp(half[t - 1], np.linalg.inv(camera[t]), half.shape[1:])
            change[t] = cv2.blur(cv2.absdiff(half[t], still), (5, 5))
    stretch = np.float32(scale[0, 0])
    backward *= stretch
    residual *= stretch
    camera = scale @ camera @ np.linalg.inv(scale)
    return Motion(backward, residual, change, grain, camera, cut)


def rest(
    camera_T33: NDArray[np.float64], cut_T: NDArray[np.bool_], half_Thw: NDArray[np.uint8]
) -> None:
    """Hold a camera still, in place, whose motion does not explain the frames.

    Looked at over `_SPAN` frames, in which a slow camera goes far enough to tell; a frame
    moves if any such stretch around it does.
    """
    shot = np.cumsum(cut_T)
    moves = np.zeros(len(cut_T), np.bool_)
    for number in range(1, int(shot[-1]) + 1):
        frames = np.flatnonzero(shot == number)
        first, last = int(frames[0]), int(frames[-1])
        for stop in {*range(first + _SPAN, last, _SPAN // 2), last}:
            start = max(first, stop - _SPAN)
            chain = np.eye(3)
            for t in range(start + 1, stop + 1):
                chain = chain @ camera_T33[t]
            if explains(chain / chain[2, 2], half_Thw[stop], half_Thw[start]):
                moves[start + 1 : stop + 1] = True
    camera_T33[~moves] = np.eye(3)


def steady(camera_T33: NDArray[np.float64], cut_T: NDArray[np.bool_]) -> None:
    """Hold a camera still, in place, that seems to move in a few frames of a shot only.

    A tripod's picture rests for good; one wrong motion would shift the rest of the shot.
    """
    shot = np.cumsum(cut_T)
    moves = (camera_T33 != np.eye(3)).any(axis=(1, 2))
    for number in range(1, int(shot[-1]) + 1):
        frames = shot == number
        if moves[frames].mean() < _STEADY:
            camera_T33[frames] = np.eye(3)


def residual_motion(
    flow_hw2: NDArray[np.float32],
    camera_33: NDArray[np.float64],
    grid_hw2: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Length (h, w) of what is left of a flow without the camera's.

    What the camera has just brought into view has no counterpart, and so no motion.
    """
    if (camera_33 == np.eye(3)).all():
        return np.asarray(cv2.magnitude(flow_hw2[..., 0], flow_hw2[..., 1]), np.float32)
    origin = cv2.perspectiveTransform(grid_hw2, camera_33)
    own = flow_hw2 - (origin - grid_hw2)
    length = cv2.magnitude(own[..., 0], own[..., 1])
    inside = cv2.inRange(origin, (_MARGIN, _MARGIN), _last(grid_hw2))
    return np.asarray(np.where(inside > 0, length, 0), np.float32)


def _last(grid_hw2: NDArray[np.float32]) -> tuple[float, float]:
    x, y = grid_hw2[-1, -1] - _MARGIN
    return float(x), float(y)


def flow_engine() -> Any:
    """DIS as it is used here: FAST down to the finest scale."""
    dis = _cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    dis.setFinestScale(0)
    return dis


def is_cut(
    here_hw: NDArray[np.uint8],
    before_hw: NDArray[np.uint8],
    flow_hw2: NDArray[np.float32],
    grid_hw2: NDArray[np.float32],
    *,
    min_match: float,
) -> bool:
    """Whether the details of two frames do not correlate, not even after warping.

    Details only, so that a flash or a passing shade is no cut. The flow is smoothed first:
    that of a motion stays as it is, that of two scenes is a jumble that finds a likeness of
    every patch.
    """
    detail = _detail(here_hw)
    if _correlation(detail, _detail(before_hw)) >= min_match:
        return False
    at = grid_hw2 + cv2.blur(flow_hw2, _SMOOTH)
    warped = cv2.remap(before_hw, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return _correlation(detail, _detail(np.asarray(warped, np.uint8))) < min_match


def _detail(image_hw: NDArray[np.uint8]) -> NDArray[np.float32]:
    fine = image_hw.astype(np.float32)
    return fine - cv2.blur(fine, (_DETAIL, _DETAIL))


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Correlation of details; a sensor's noise on plain walls counts as alike."""
    one, other = one.ravel(), other.ravel()
    noise = _NOISE**2 * one.size
    power = float(np.sqrt((one @ one) * (other @ other)))
    return (float(one @ other) + noise) / (power + noise)
