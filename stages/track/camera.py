"""How the camera moves: between neighbours, and through a whole scene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_GRID = 4  # flow vectors between two that the camera's motion is fitted to
_RANSAC_PIXELS = 0.25  # of the flow's resolution
_LEAST_POINTS = 16
_TRIES = 200  # of RANSAC; enough for a third of the points to find each other
_AGREE, _BETTER = 0.7, 1.15  # share of points, times as many: see `fit_camera`
_CELLS, _CELL_GAIN, _RIM_SHARE = 8, 0.25, 0.3  # see `explains`; grey levels
_STILL = 0.1  # a camera that moves no corner by so many pixels rests
TEXTURE = 2.0  # grey levels of local contrast that flow can be trusted from
_LARGEST = 3.0  # area of a canvas in frames; a longer way of the camera is cut into pieces
_IDENTITY = np.eye(3)
_OVERLAP = 0.5  # share of a frame that its key frame must show
_ANCHORS = 25  # frames of a piece that are laid onto their key frame


def camera_between(
    flow_hw2: NDArray[np.float32], grid_hw2: NDArray[np.float32], texture_hw: NDArray[np.uint8]
) -> NDArray[np.float64]:
    """Homography from a frame to the one before; the identity where nothing says otherwise.

    RANSAC on the flow of textured points; OpenCV starts its generator anew in each call.
    """
    points = np.s_[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID]
    start, moved = grid_hw2[points].reshape(-1, 2), flow_hw2[points].reshape(-1, 2)
    known = texture_hw[points].ravel() >= TEXTURE
    if known.sum() >= _LEAST_POINTS:
        start, moved = start[known], moved[known]
    matrix = fit_camera(start, start + moved)
    if matrix is None:
        return np.eye(3)
    height, width = texture_hw.shape
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float64)
    if np.abs(cv2.perspectiveTransform(corners, matrix) - corners).max() < _STILL / 2:
        return np.eye(3)
    return np.asarray(matrix, np.float64)


def explains(
    matrix_33: NDArray[np.float64], here_hw: NDArray[np.uint8], before_hw: NDArray[np.uint8]
) -> bool:
    """Whether a camera's motion explains two frames better than its rest does.

    Notes
    -----
    A camera moves everything: where its motion and rest explain the frames differently, its
    motion must be right in most of 8 x 8 cells, in many of those along the frame's border,
    and at all sides of it. Else the one textured thing before a plain wall would be the
    background, and the wall would move.
    """
    if (matrix_33 == _IDENTITY).all():
        return False
    height, width = here_hw.shape
    back = np.asarray(np.linalg.inv(matrix_33), np.float64)
    shifted = cv2.warpPerspective(  # whose border must not darken the blurred one inside
        before_hw, back, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    inside = warp(np.ones_like(before_hw), back, (height, width), nearest=True)
    smooth = cv2.GaussianBlur(here_hw, (5, 5), 0)  # else warping would win by blurring noise
    errors = [
        cv2.resize(
            (cv2.absdiff(smooth, cv2.GaussianBlur(other, (5, 5), 0)) * inside).astype(np.float32),
            (_CELLS, _CELLS),
            interpolation=cv2.INTER_AREA,
        )
        for other in (before_hw, shifted)
    ]
    gain = errors[0] - errors[1]
    wins, losses = gain > _CELL_GAIN, gain < -_CELL_GAIN
    rim = np.ones_like(wins)
    rim[1:-1, 1:-1] = False
    sides = [wins[0], wins[-1], wins[:, 0], wins[:, -1]]
    everywhere = wins[rim].mean() >= _RIM_SHARE and all(side.any() for side in sides)
    return bool(everywhere and wins.sum() >= 2 * losses.sum())


def fit_camera(
    start_N2: NDArray[np.float32], end_N2: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    """The motion (3, 3) that most points agree on; None without a consensus.

    Notes
    -----
    A shift with turn and zoom by RANSAC if that explains most points: between neighbouring
    frames the four other parameters of a homography mostly fit the noise of the flow, and a
    chain of them drifts. Else the homography that grows from it, if it explains clearly
    more. OpenCV starts its generator anew in each call.
    """
    partial, inliers = cv2.estimateAffinePartial2D(
        start_N2,
        end_N2,
        method=cv2.RANSAC,
        ransacReprojThreshold=_RANSAC_PIXELS,
        maxIters=_TRIES,
    )
    if partial is None:
        return None
    simple = np.concatenate([partial, [[0.0, 0.0, 1.0]]])
    agree = int(inliers.sum())
    if agree >= _AGREE * len(start_N2):
        return simple
    matrix = simple
    for bound in (4 * _RANSAC_PIXELS, 2 * _RANSAC_PIXELS, _RANSAC_PIXELS):
        near = _misses(matrix, start_N2, end_N2) < bound
        if near.sum() < _LEAST_POINTS:
            return simple
        matrix, _ = cv2.findHomography(start_N2[near], end_N2[near], 0)
        if matrix is None:
            return simple
    better = int((_misses(matrix, start_N2, end_N2) < _RANSAC_PIXELS).sum())
    return np.asarray(matrix, np.float64) if better >= _BETTER * agree else simple


def _misses(
    matrix_33: NDArray[np.float64], start_N2: NDArray[np.float32], end_N2: NDArray[np.float32]
) -> NDArray[np.float32]:
    moved = cv2.perspectiveTransform(start_N2[None], matrix_33)[0]
    return np.asarray(np.hypot(*(moved - end_N2).T), np.float32)


def pieces(
    shot: range, camera_T33: NDArray[np.float64], height: int, width: int
) -> Iterator[tuple[range, NDArray[np.float64], tuple[int, int]]]:
    """Stretches of a shot that fit on one canvas.

    Yields
    ------
    range
        Frames.
    ndarray of shape (T, 3, 3), float64
        Maps each of these frames onto the canvas.
    tuple of int
        Height and width of the canvas.
    """
    chain = [np.eye(3)]
    for t in shot[1:]:
        step = chain[-1] @ camera_T33[t]
        chain.append(step / step[2, 2])
    to_middle = np.linalg.inv(chain[len(shot) // 2]) @ np.stack(chain)
    corners = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float64)
    outline = np.concatenate([cv2.perspectiveTransform(corners, m)[0] for m in to_middle])
    low, high = np.floor(outline.min(0)), np.ceil(outline.max(0))
    size = high - low
    if len(shot) > 2 and (not size.prod() <= _LARGEST * height * width):  # NaN counts as large
        half = len(shot) // 2
        yield from pieces(shot[:half], camera_T33, height, width)
        yield from pieces(shot[half:], camera_T33, height, width)
        return
    shift = np.eye(3)
    shift[:2, 2] = -low
    yield shot, shift @ to_middle, (int(size[1]), int(size[0]))


def anchor(
    half_Thw: NDArray[np.uint8], to_canvas_T33: NDArray[np.float64], flow: Any
) -> NDArray[np.float64]:
    """The frames' places on a canvas, without the drift of a long chain.

    Parameters
    ----------
    half_Thw : ndarray of shape (T, h, w), uint8
        Frames at the resolution of the maps.
    to_canvas_T33 : ndarray of shape (T, 3, 3), float64
    flow : callable
        ``flow(here, there, None)`` gives where each pixel of one image is in the other.

    Notes
    -----
    From the middle outwards, some frames are laid onto a key frame by flow and RANSAC; the
    frame before becomes the key where the old one is nearly out of sight. What each is
    corrected by is spread over the frames between them.
    """
    count = len(half_Thw)
    if count < 3 or not np.any(to_canvas_T33 != to_canvas_T33[0]):
        return to_canvas_T33
    shape = half_Thw.shape[1:]
    grid = pixel_grid(*shape)[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    inside = np.full(shape, 255, np.uint8)
    middle = count // 2
    chosen = sorted({middle, *np.linspace(0, count - 1, _ANCHORS).round().astype(int).tolist()})
    found = {middle: np.eye(3)}
    for way in (
        [i for i in chosen if i > middle],
        [i for i in reversed(chosen) if i < middle],
    ):
        key, last = middle, middle
        for i in way:
            correction = found[last]
            for candidate in (key, last):  # the key frame while enough of it is in sight
                key = candidate
                key_place = found[key] @ to_canvas_T33[key]
                across = np.linalg.inv(key_place) @ correction @ to_canvas_T33[i]
                shown = warp(inside, across, shape, nearest=True)
                if cv2.countNonZero(shown) >= _OVERLAP * shown.size:
                    break
            there = np.where(shown > 0, warp(half_Thw[i], across, shape), half_Thw[key])
            moved = flow(half_Thw[key], there, None)
            rows, columns = grid[:, 1].astype(int), grid[:, 0].astype(int)
            seen = (shown[rows, columns] > 0) & (texture(half_Thw[key])[rows, columns] >= TEXTURE)
            start, end = (grid + moved[rows, columns])[seen], grid[seen]
            error = fit_camera(start, end) if len(start) >= _LEAST_POINTS else None
            if error is not None:
                correction = key_place @ error @ np.linalg.inv(key_place) @ correction
            found[i] = correction / correction[2, 2]
            last = i
    flat = np.stack([found[i].ravel() for i in chosen])
    spread = [np.interp(np.arange(count), chosen, flat[:, j]) for j in range(9)]
    return np.asarray(np.stack(spread, axis=1).reshape(count, 3, 3) @ to_canvas_T33)


def texture(image_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Local contrast (h, w) in grey levels."""
    detail = cv2.absdiff(image_hw, cv2.blur(image_hw, (5, 5)))
    return np.asarray(cv2.blur(detail, (5, 5)), np.uint8)


def warp(
    image_HW: NDArray[np.uint8],
    matrix_33: NDArray[np.float64],
    size: tuple[int, int],
    *,
    nearest: bool = False,
) -> NDArray[np.uint8]:
    """An image moved by a homography onto a canvas of (height, width); zero around it."""
    if size == image_HW.shape[:2] and (matrix_33 == _IDENTITY).all():
        return image_HW
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    moved = cv2.warpPerspective(image_HW, matrix_33, size[::-1], flags=flags)
    return np.asarray(moved, np.uint8)


def pixel_grid(height: int, width: int) -> NDArray[np.float32]:
    """(x, y) of each pixel, shape (H, W, 2)."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
