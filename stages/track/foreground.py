"""From motion and background to regions of each frame that may be objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.track.background import Mosaic, mosaic
from stages.track.camera import TEXTURE, anchor, pieces
from stages.track.flow import Motion, flow_engine
from stages.track.labelling import label
from stages.track.noise import noise_level, smooth
from stages.track.passing import passing
from stages.track.resting import resting

_KERNEL = np.ones((3, 3), np.uint8)
_CHANGE = 1.0, 1.6  # grey levels, and times what most of the frame changes by
_LEAST_RESTING = 50  # pixels that the noise of flow can be told from
_EDGE = 0.5  # flow is smooth: an outline lies where this share of the motion is left
_HALO = np.ones((7, 7), np.uint8)  # how far an object's motion leaks into its surroundings
_MAJORITY, _SHARE = (5, 5), 0.5
_SAMPLES = 21  # frames that a mosaic is made of
_INNER = np.ones((21, 21), np.uint8)  # flow goes beyond an outline by half of it
_PARTLY = 0.2  # share of a region that moves
_LEFT = 0.8  # grey levels of noise
_NOISY = 2.0  # grey levels of noise in which flow misses what is slow
_FLICKER, _NOISY_FLICKER = 8.0, 2.0  # levels by which a place at rest may vary beyond the noise


@dataclass(frozen=True, repr=False)
class Regions:
    """Regions of T frames, numbered from 1 in each frame.

    Parameters
    ----------
    labels_THW : ndarray of shape (T, H, W), uint8
        Number of the region at each pixel, 0 for none.
    strength : list of T ndarrays
        Evidence of own motion of each region, 0..1; the first entry stands for no region.
    """

    labels_THW: NDArray[np.uint8]
    strength: list[NDArray[np.float32]]

    def __repr__(self) -> str:
        return f"Regions{self.labels_THW.shape}"


def moving_pixels(
    motion: Motion, t: int, *, min_motion: float, noise_factor: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels (h, w), 0 or 1: of a flow unlike the camera's, that surely move, that change.

    Parameters
    ----------
    motion : Motion
    t : int
    min_motion : float
        Least residual motion that counts, in pixels a frame.
    noise_factor : float
        Least residual in robust deviations above that of the background.

    Notes
    -----
    Flow is smooth, an object drags its surroundings along, far over a plain wall. So a
    motion is sure where there is texture or the picture changes with it; and what moves much
    less than the things beside it does not count at all. Textured pixels that do not change
    tell how exact the flow is.
    """
    residual_hw, change_hw = motion.residual_Thw[t], motion.change_Thw[t]
    level = _CHANGE[0] + _CHANGE[1] * float(np.quantile(change_hw[::2, ::2], 0.3))
    changes = (change_hw > level).astype(np.uint8)
    textured = (motion.texture_Thw[t] >= TEXTURE).astype(np.uint8)
    rests = residual_hw[textured > changes][::4]
    threshold = min_motion
    if len(rests) >= _LEAST_RESTING:
        median = np.median(rests)
        deviation = 1.4826 * np.median(np.abs(rests - median))
        threshold = max(min_motion, float(median + noise_factor * deviation))
    moves = residual_hw > np.maximum(threshold, _EDGE * cv2.dilate(residual_hw, _HALO))
    return moves.astype(np.uint8), moves & (textured | cv2.dilate(changes, _KERNEL)), changes


def find_regions(
    planes: Sequence[NDArray[np.uint8]],
    motion: Motion,
    *,
    min_motion: float,
    noise_factor: float,
    min_area: float,
) -> Regions:
    """Regions that differ from the background, or move where none is known.

    Parameters
    ----------
    planes : sequence of ndarrays of shape (T, H, W) or (T, h, w), uint8
        Grey frames, and their colour at half the resolution.
    motion : Motion
    min_motion, noise_factor : float
        See `moving_pixels`.
    min_area : float
        Least area of a region as a fraction of the frame.
    """
    count, height, width = planes[0].shape
    labels_THW = np.zeros(planes[0].shape, np.uint8)
    strength = [np.zeros(1, np.float32)] * count
    still, noisy = bool((motion.camera_T33 == np.eye(3)).all()), False
    if still:  # else a texture that moves would be noise
        noise = [noise_level(one) for one in planes]
        noisy = noise[0] >= _NOISY
        planes = [smooth(one, level, left=_LEFT) for one, level in zip(planes, noise, strict=True)]
    planes = [np.stack([cv2.GaussianBlur(one, (3, 3), 0) for one in plane]) for plane in planes]
    found = [
        moving_pixels(motion, t, min_motion=min_motion, noise_factor=noise_factor)
        for t in range(count)
    ]
    moving_Thw, sure_Thw, changes_Thw = (np.stack(masks) for masks in zip(*found, strict=True))
    scale = np.diag([moving_Thw.shape[2] / width, moving_Thw.shape[1] / height, 1.0])
    half_camera = scale @ motion.camera_T33 @ np.linalg.inv(scale)
    for shot in motion.shots():
        if len(shot) > 1:  # what moves from the first frame to the second is in both
            moving_Thw[shot[0]], sure_Thw[shot[0]] = moving_Thw[shot[1]], sure_Thw[shot[1]]
        for frames, to_canvas, size in pieces(shot, motion.camera_T33, height, width):
            span = slice(frames.start, frames.stop)
            to_canvas = _anchored(planes[0][span], to_canvas)
            objects_Thw = sure_Thw[span] | resting(
                sure_Thw[span], changes_Thw[span], half_camera[span], min_area=min_area
            )
            cut = [plane[span] for plane in planes]
            if noisy or not still:
                slow_Thw = passing(cut, scale @ to_canvas @ np.linalg.inv(scale))
                objects_Thw |= slow_Thw
                moving_Thw[span] |= slow_Thw
            flicker = _NOISY_FLICKER if noisy else _FLICKER
            grounds = mosaics(cut, objects_Thw, to_canvas, size, flicker=flicker)
            maps = back_maps(planes, to_canvas)
            for i, t in enumerate(frames):
                changed = enlarge(objects_Thw[i], (height, width))
                if grounds:
                    back = [one[i] for one in maps]
                    changed = differs([p[t] for p in planes], changed, grounds, back)
                moving = enlarge(moving_Thw[t], (height, width))
                labels_THW[t], strength[t] = label(changed, moving, min_area=min_area)
    return Regions(labels_THW, strength)


def _anchored(
    grey_THW: NDArray[np.uint8], to_canvas_T33: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`stages.track.camera.anchor` at the resolution of the flow."""
    height, width = grey_THW.shape[1:]
    size = max(8, width // 2), max(8, height // 2)
    scale = np.diag([size[0] / width, size[1] / height, 1.0])
    half = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in grey_THW])
    back = np.linalg.inv(scale)
    return back @ anchor(half, scale @ to_canvas_T33 @ back, flow_engine().calc) @ scale


def enlarge(mask_hw: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask at another resolution."""
    if mask_hw.shape == shape:
        return mask_hw
    return np.asarray(cv2.resize(mask_hw, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def mosaics(
    planes: Sequence[NDArray[np.uint8]],
    objects_Thw: NDArray[np.uint8],
    to_canvas_T33: NDArray[np.float64],
    size: tuple[int, int],
    *,
    flicker: float,
) -> list[Mosaic]:
    """One mosaic for each plane; none at all for too few frames.

    Notes
    -----
    Made twice. The first hides only what moves or is held; with it whole objects are found in
    the samples, also those that the first mosaic took for the background, and hidden from the
    second.
    """
    height, width = planes[0].shape[1:]
    count = len(objects_Thw)
    chosen = np.linspace(0, count - 1, min(count, _SAMPLES)).round().astype(int)
    places = to_canvas_T33[chosen]
    samples = [plane[chosen] for plane in planes]
    objects = [enlarge(objects_Thw[t], (height, width)) for t in chosen]
    hidden = np.stack([cv2.dilate(one, _KERNEL) for one in objects])
    grounds = _mosaics(samples, hidden, places, size, flicker)
    if not grounds:
        return []
    hidden |= whole_objects(samples, objects, grounds, places)
    return _mosaics(samples, hidden, places, size, flicker) or grounds


def whole_objects(
    samples: Sequence[NDArray[np.uint8]],
    moving: Sequence[NDArray[np.uint8]],
    grounds: Sequence[Mosaic],
    to_canvas_T33: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Pixels (T, H, W) of each sample in regions that move in part."""
    objects = np.zeros(samples[0].shape, np.uint8)
    maps = back_maps(samples, to_canvas_T33)
    for i in range(len(objects)):
        back = [one[i] for one in maps]
        changed = differs([plane[i] for plane in samples], moving[i], grounds, back)
        labels, share = label(changed, moving[i], min_area=0)
        objects[i] = (share >= _PARTLY)[labels]
    return objects


def _mosaics(
    samples: Sequence[NDArray[np.uint8]],
    hidden_THW: NDArray[np.uint8],
    to_canvas_T33: NDArray[np.float64],
    size: tuple[int, int],
    flicker: float,
) -> list[Mosaic]:
    height, width = hidden_THW.shape[1:]
    made = []
    for plane in samples:
        shape = plane.shape[1:]
        scale = np.diag([shape[1] / width, shape[0] / height, 1.0])
        found = mosaic(
            plane,
            np.stack([enlarge(one, shape) for one in hidden_THW]),
            scale @ to_canvas_T33 @ np.linalg.inv(scale),
            (round(size[0] * scale[1, 1]), round(size[1] * scale[0, 0])),
            flicker=flicker,
        )
        if found is None:
            return []
        made.append(found)
    return made


def differs(
    planes: Sequence[NDArray[np.uint8]],
    moving_HW: NDArray[np.uint8],
    grounds: Sequence[Mosaic],
    from_canvas: Sequence[NDArray[np.float64]],
) -> NDArray[np.uint8]:
    """Pixels (H, W), 0 or 1, out of the background's range, or moving where it is unknown.

    The inner part of what moves counts in any case: the mosaic may show the object itself,
    where it comes to rest. A pixel may look like the background by chance: the majority
    around it decides. The maps lead from the canvas onto each plane.
    """
    changed, known = grounds[0].differs(planes[0], from_canvas[0])
    colour = None
    for plane, ground, back in zip(planes[1:], grounds[1:], from_canvas[1:], strict=True):
        out, _ = ground.differs(plane, back)
        colour = out if colour is None else cv2.max(colour, out)
    if colour is not None:
        changed = cv2.max(changed, enlarge(colour, changed.shape))
    unknown = cv2.compare(known, 255, cv2.CMP_NE)
    inner = cv2.erode(moving_HW, _INNER, borderValue=0) * np.uint8(255)
    changed = cv2.max(
        changed,
        cv2.max(
            inner, cv2.min(unknown, cv2.erode(moving_HW, _KERNEL, iterations=2) * np.uint8(255))
        ),
    )
    _, majority = cv2.threshold(cv2.blur(changed, _MAJORITY), _SHARE * 255, 1, cv2.THRESH_BINARY)
    return np.asarray(majority, np.uint8)


def back_maps(
    planes: Sequence[NDArray[np.uint8]], to_canvas_T33: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """For each plane, maps (T, 3, 3) from its canvas onto its frames."""
    height, width = planes[0].shape[1:]
    maps = []
    for plane in planes:
        scale = np.diag([plane.shape[2] / width, plane.shape[1] / height, 1.0])
        there = scale @ to_canvas_T33 @ np.linalg.inv(scale)
        maps.append(np.asarray(np.linalg.inv(there), np.float64))
    return maps
