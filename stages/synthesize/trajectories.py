"""Draw the trajectories of CtP's patches: boxes, visibility, opacity.

Sizes in the reference are for a 112-pixel crop; here they scale with the crop.

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
    progress_between,
    sample_key_frames,
)
from storage_schemas.trajectories import SHAPES

REFERENCE_SIZE = 112
ANCHOR_SIDES = np.array([16.0, 24, 28, 32, 48, 64])
ANCHOR_ASPECTS = np.array([0.5, 0.67, 0.75, 1, 1.33, 1.5, 2])
_OPACITY_PROBABILITIES = (0.5, 0.3, 0.2)
_SHAPE_PROBABILITIES = (0.5, 0.35, 0.15)


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
class Trajectory:
    """One entry of a bank; arrays as in `storage_schemas.trajectories` without N.

    ``centres_KT2`` and ``sides_KT2`` are the exact values before clipping and rounding.
    """

    centres_KT2: NDArray[np.float64]
    sides_KT2: NDArray[np.float64]
    boxes_KT4: NDArray[np.int16]
    visible_KT: NDArray[np.bool_]
    opacity_KT: NDArray[np.float32]
    source_frame_K: NDArray[np.int16]
    shape_K: NDArray[np.uint8]
    edge_K: NDArray[np.float32]


def sample_trajectory(rng: np.random.Generator, law: Law) -> Trajectory:
    """Draw the patches of one clip; they share key frames, not directions."""
    sides_K2, centres_K2 = sample_first_boxes(rng, law)
    centres_KT2 = _positions(rng, law, centres_K2, sides_K2)
    sides_KT2 = _sides(rng, law, sides_K2)
    boxes_KT4 = to_integer_boxes(centres_KT2, sides_KT2, law.size)
    source_frame_K = rng.integers(0, law.num_frames, size=law.num_patches)
    visible_KT = rng.random((law.num_patches, law.num_frames)) <= law.visible_probability
    visible_KT[:, 0] = True
    visible_KT[np.arange(law.num_patches), source_frame_K] = True
    soft_K = rng.random(law.num_patches) < 0.5
    return Trajectory(
        centres_KT2=centres_KT2,
        sides_KT2=sides_KT2,
        boxes_KT4=boxes_KT4,
        visible_KT=visible_KT,
        opacity_KT=_opacity(rng, law),
        source_frame_K=source_frame_K.astype(np.int16),
        shape_K=rng.choice(
            len(SHAPES), size=law.num_patches, p=np.asarray(_SHAPE_PROBABILITIES)
        ).astype(np.uint8),
        edge_K=np.where(soft_K, rng.uniform(0.30, 0.45, law.num_patches), 0).astype(np.float32),
    )


def sample_first_boxes(
    rng: np.random.Generator, law: Law
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sides and centres (K, 2) of the first-frame boxes, inside the crop.

    42 anchors (6 sides x 7 aspects), width and height jittered on their own by
    exp(U(-.18, .18)).
    """
    count = law.num_patches
    side = rng.choice(ANCHOR_SIDES, size=count) * law.size / REFERENCE_SIZE
    aspect = rng.choice(ANCHOR_ASPECTS, size=count)
    sides_K2 = np.stack([side * np.sqrt(aspect), side / np.sqrt(aspect)], axis=1)
    sides_K2 *= np.exp(rng.uniform(-0.18, 0.18, size=(count, 2)))
    sides_K2 = np.clip(sides_K2, 1, law.size - 1)
    corners_K2 = rng.uniform(size=(count, 2)) * (law.size - sides_K2)
    return sides_K2, corners_K2 + sides_K2 / 2


def _positions(
    rng: np.random.Generator,
    law: Law,
    centres_K2: NDArray[np.float64],
    sides_K2: NDArray[np.float64],
) -> NDArray[np.float64]:
    keys = sample_key_frames(
        rng, num_frames=law.num_frames, inner_probabilities=law.inner_probabilities
    )
    at_keys = [centres_K2]
    for gap in np.diff(keys):
        reach = law.location_velocity * gap
        moved = at_keys[-1] + rng.uniform(-reach, reach, size=centres_K2.shape)
        at_keys.append(np.clip(moved, sides_K2 / 2, law.size - sides_K2 / 2))
    places_T = progress_between(rng, keys, interpolation=law.interpolation)
    return np.moveaxis(interpolate(np.stack(at_keys), places_T), 0, 1)


def _sides(
    rng: np.random.Generator, law: Law, sides_K2: NDArray[np.float64]
) -> NDArray[np.float64]:
    keys = sample_key_frames(
        rng, num_frames=law.num_frames, inner_probabilities=law.inner_probabilities
    )
    at_keys = [sides_K2]
    for gap in np.diff(keys):
        reach = law.size_velocity * gap
        at_keys.append(at_keys[-1] * np.exp(rng.uniform(-reach, reach, size=sides_K2.shape)))
    places_T = progress_between(rng, keys, interpolation=law.interpolation)
    return np.moveaxis(interpolate(np.stack(at_keys), places_T), 0, 1)


def to_integer_boxes(
    centres_KT2: NDArray[np.float64], sides_KT2: NDArray[np.float64], size: int
) -> NDArray[np.int16]:
    """Corner boxes, clipped to the crop and rounded half to even; at least a pixel wide."""
    corners = np.concatenate([centres_KT2 - sides_KT2 / 2, centres_KT2 + sides_KT2 / 2], axis=-1)
    boxes = np.rint(np.clip(corners, 0, size)).astype(np.int16)
    boxes[..., :2] = np.minimum(boxes[..., :2], size - 1)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2] + 1)
    return boxes


def _opacity(rng: np.random.Generator, law: Law) -> NDArray[np.float32]:
    rows = []
    for _ in range(law.num_patches):
        keys = sample_key_frames(
            rng, num_frames=law.num_frames, inner_probabilities=_OPACITY_PROBABILITIES
        )
        values = rng.uniform(0.8, 1.0, size=len(keys))
        rows.append(np.interp(np.arange(law.num_frames), keys, values))
    return np.stack(rows).astype(np.float32)
