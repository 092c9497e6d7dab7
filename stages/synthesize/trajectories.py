"""Draw the trajectories of CtP's patches: boxes, visibility, opacity, shapes.

Shapes: N clips, K patches, M key frames, T frames. The constants of the reference are for
a crop of 112 pixels; all that are in pixels scale with the crop.

References
----------
specs/ctp.md section 3 (reference code of CtP, CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.synthesize.keyframes import (
    Interpolation,
    interpolate,
    sample_key_frames,
    sample_places,
)
from storage_schemas.trajectories import SHAPES, Trajectories

REFERENCE_SIZE = 112
ANCHOR_SIDES = np.array([16.0, 24, 28, 32, 48, 64])
ANCHOR_ASPECTS = np.array([0.5, 0.67, 0.75, 1, 1.33, 1.5, 2])
ANCHOR_JITTER = 0.18
OPACITY_RANGE = (0.8, 1.0)
EDGE_RANGE = (0.30, 0.45)
OPACITY_PROBABILITIES = (0.5, 0.3, 0.2)
SHAPE_PROBABILITIES = (0.5, 0.35, 0.15)
SOFT_EDGE_PROBABILITY = 0.5


@dataclass(frozen=True)
class Law:
    """Constants of the motion, in pixels of the crop (see `Synthesize`)."""

    num_patches: int
    num_frames: int
    size: int
    inner_probabilities: tuple[float, ...]
    interpolation: Interpolation
    location_velocity: float
    size_velocity: float
    visible_probability: float


@dataclass(frozen=True)
class Motion:
    """Exact paths, before clipping and rounding, x before y, and their key frames."""

    centres_NKT2: NDArray[np.float64]
    sides_NKT2: NDArray[np.float64]
    centre_keys_NM: NDArray[np.int64]
    side_keys_NM: NDArray[np.int64]


def sample_bank(rng: np.random.Generator, law: Law, count: int) -> Trajectories:
    """Draw `count` clips."""
    n, k = count, law.num_patches
    motion = sample_motion(rng, law, count)
    source_frame_NK = rng.integers(0, law.num_frames, size=(n, k))
    soft_NK = rng.random((n, k)) < SOFT_EDGE_PROBABILITY
    return Trajectories(
        size=law.size,
        boxes_NKT4=to_integer_boxes(motion.centres_NKT2, motion.sides_NKT2, law.size),
        visible_NKT=sample_visibility(rng, law, source_frame_NK),
        opacity_NKT=sample_opacity(rng, law, count),
        source_frame_NK=source_frame_NK.astype(np.int16),
        shape_NK=rng.choice(len(SHAPES), size=(n, k), p=np.asarray(SHAPE_PROBABILITIES)).astype(
            np.uint8
        ),
        edge_NK=np.where(soft_NK, rng.uniform(*EDGE_RANGE, (n, k)), 0).astype(np.float32),
    )


def sample_motion(rng: np.random.Generator, law: Law, count: int) -> Motion:
    """Draw paths; the patches of a clip share key frames, not directions."""
    sides_NK2, centres_NK2 = sample_first_boxes(rng, law, count)
    low_NK2, high_NK2 = sides_NK2 / 2, law.size - sides_NK2 / 2

    centre_keys_NM = _key_frames(rng, law, count)
    centres = [centres_NK2]
    for reach_N11 in law.location_velocity * _gaps(centre_keys_NM):
        moved = centres[-1] + reach_N11 * rng.uniform(-1, 1, sides_NK2.shape)
        centres.append(np.clip(moved, low_NK2, high_NK2))
    places_NT = sample_places(rng, centre_keys_NM, interpolation=law.interpolation)
    centres_NTK2 = interpolate(np.stack(centres, axis=1), places_NT)

    side_keys_NM = _key_frames(rng, law, count)  # sizes change at times of their own
    sides = [sides_NK2]
    for reach_N11 in law.size_velocity * _gaps(side_keys_NM):
        sides.append(sides[-1] * np.exp(reach_N11 * rng.uniform(-1, 1, sides_NK2.shape)))
    places_NT = sample_places(rng, side_keys_NM, interpolation=law.interpolation)
    sides_NTK2 = interpolate(np.stack(sides, axis=1), places_NT)

    return Motion(
        centres_NTK2.swapaxes(1, 2), sides_NTK2.swapaxes(1, 2), centre_keys_NM, side_keys_NM
    )


def _key_frames(rng: np.random.Generator, law: Law, count: int) -> NDArray[np.int64]:
    return sample_key_frames(
        rng,
        count=count,
        num_frames=law.num_frames,
        inner_probabilities=law.inner_probabilities,
    )


def _gaps(keys_NM: NDArray[np.int64]) -> NDArray[np.int64]:
    """Frames between neighbouring key frames, shape (S, N, 1, 1)."""
    return np.diff(keys_NM).T[:, :, None, None]


def sample_first_boxes(
    rng: np.random.Generator, law: Law, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sides and centres, (N, K, 2) each, of the first-frame boxes, inside the crop.

    42 anchors (6 sides x 7 aspects), width and height jittered on their own by
    exp(U(-.18, .18)).
    """
    shape = (count, law.num_patches)
    side_NK = rng.choice(ANCHOR_SIDES, size=shape) * law.size / REFERENCE_SIZE
    root_NK = np.sqrt(rng.choice(ANCHOR_ASPECTS, size=shape))
    sides_NK2 = np.stack([side_NK * root_NK, side_NK / root_NK], axis=-1)
    sides_NK2 *= np.exp(rng.uniform(-ANCHOR_JITTER, ANCHOR_JITTER, sides_NK2.shape))
    sides_NK2 = np.clip(sides_NK2, 1, law.size - 1)
    corners_NK2 = rng.random(sides_NK2.shape) * (law.size - sides_NK2)
    return sides_NK2, corners_NK2 + sides_NK2 / 2


def to_integer_boxes(
    centres_NKT2: NDArray[np.float64], sides_NKT2: NDArray[np.float64], size: int
) -> NDArray[np.int16]:
    """Corner boxes (..., 4), clipped to the crop and rounded half to even; never empty."""
    half = sides_NKT2 / 2
    corners = np.concatenate([centres_NKT2 - half, centres_NKT2 + half], axis=-1)
    boxes = np.rint(np.clip(corners, 0, size)).astype(np.int16)
    boxes[..., :2] = np.minimum(boxes[..., :2], size - 1)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 1)
    return boxes


def sample_visibility(
    rng: np.random.Generator, law: Law, source_frame_NK: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where a patch is pasted, (N, K, T): always in frame 0 and in its own frame."""
    frames_T = np.arange(law.num_frames)
    visible = rng.random((*source_frame_NK.shape, law.num_frames)) < law.visible_probability
    return visible | (frames_T == 0) | (frames_T == source_frame_NK[..., None])


def sample_opacity(rng: np.random.Generator, law: Law, count: int) -> NDArray[np.float32]:
    """Alpha over time, (N, K, T): each patch has key frames of its own, linear between."""
    keys = sample_key_frames(
        rng,
        count=count * law.num_patches,
        num_frames=law.num_frames,
        inner_probabilities=OPACITY_PROBABILITIES,
    )
    values = rng.uniform(*OPACITY_RANGE, keys.shape)
    for m in range(1, keys.shape[1]):  # a key frame that is repeated has one value
        values[:, m] = np.where(keys[:, m] > keys[:, m - 1], values[:, m], values[:, m - 1])
    opacity = interpolate(values, sample_places(rng, keys, interpolation="linear"))
    # Rounding to float32 may pass the upper end by half a unit.
    shaped = opacity.reshape(count, law.num_patches, law.num_frames).astype(np.float32)
    return np.minimum(shaped, np.float32(OPACITY_RANGE[1]))
