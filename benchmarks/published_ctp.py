"""CtP's patches as its published code makes them, written anew after its description.

One clip at a time, NumPy calls on a few numbers, every patch resized for every frame, blended
in floating point (specs/ctp.md section 3; Wang et al., CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

T, S, K = 16, 112, 3


def key_frames(rng: np.random.Generator) -> list[int]:
    """Key frames of one path."""
    inner = int(rng.choice(3, p=[0.5, 0.3, 0.2]))
    if inner == 0:
        return [0, T - 1]
    step = T / (inner + 1)
    jitter = int(step / 3)
    ticks = [int(step * i) + int(rng.integers(-jitter, jitter)) for i in range(1, inner + 1)]
    return sorted({0, *ticks, T - 1})


def between(
    rng: np.random.Generator, keys: list[int], values: list[NDArray[Any]], *, eased: bool
) -> NDArray[Any]:
    """Values of all frames, a segment at a time."""
    frames = [values[0][None]]
    for start, end, a, b in zip(keys, keys[1:], values, values[1:], strict=False):
        share = np.arange(1, end - start + 1) / (end - start)
        mode = int(rng.choice(3, p=[0.7, 0.15, 0.15])) if eased else 0
        share = (share, share**2, 1 - (1 - share) ** 2)[mode]
        frames.append(a + (b - a) * share.reshape(-1, *[1] * a.ndim))
    return np.concatenate(frames)


@dataclass
class Drawn:
    """Trajectories of one clip; float paths (T, K, 2), integer boxes (K, T, 4)."""

    centres: NDArray[Any]
    boxes: NDArray[Any]
    chosen: NDArray[Any]
    visible: NDArray[Any]


def published_draw(rng: np.random.Generator) -> Drawn:
    """Boxes and visibility of one clip."""
    anchors = [
        (s * r**0.5, s / r**0.5)
        for s in (16, 24, 28, 32, 48, 64)
        for r in (0.5, 0.67, 0.75, 1, 1.33, 1.5, 2)
    ]
    sides = np.array(anchors)[rng.integers(0, len(anchors), K)]
    sides = np.clip(sides * np.exp(rng.uniform(-0.18, 0.18, (K, 2))), 1, S - 1)
    centre = rng.uniform(0, S - sides) + sides / 2
    keys = key_frames(rng)
    centres, first = [centre], sides
    for gap in np.diff(keys):
        moved = centres[-1] + rng.uniform(-3 * gap, 3 * gap, (K, 2))
        centres.append(np.clip(moved, first / 2, S - first / 2))
    path = between(rng, keys, centres, eased=True)
    keys, sizes = key_frames(rng), [sides]
    for gap in np.diff(keys):
        sizes.append(sizes[-1] * np.exp(rng.uniform(-0.025 * gap, 0.025 * gap, (K, 2))))
    size = between(rng, keys, sizes, eased=True)
    corners = np.concatenate([path - size / 2, path + size / 2], axis=-1)
    boxes = np.clip(np.rint(np.clip(corners, 0, S)), 0, S).astype(int).transpose(1, 0, 2)

    chosen = rng.integers(0, T, K)
    visible = rng.random((K, T)) <= 0.8
    visible[:, 0] = visible[np.arange(K), chosen] = True
    return Drawn(path, boxes, chosen, visible)


def published_clip(rng: np.random.Generator, clip_THWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Synthesis and paste of one clip."""
    drawn = published_draw(rng)
    boxes, chosen, visible = drawn.boxes, drawn.chosen, drawn.visible
    patches, alphas = [], []
    for k in range(K):
        x1, y1, x2, y2 = boxes[k, chosen[k]]
        cut = clip_THWC[chosen[k], y1:y2, x1:x2]
        mask = published_mask(rng, x2 - x1, y2 - y1)
        keys = key_frames(rng)
        opacity = between(rng, keys, list(rng.uniform(0.8, 1.0, len(keys))[:, None]), eased=False)
        extents = [(int(b[2] - b[0]), int(b[3] - b[1])) for b in boxes[k]]
        patches.append([cv2.resize(cut, e, interpolation=cv2.INTER_LINEAR) for e in extents])
        alphas.append([cv2.resize(mask * opacity[t], e) for t, e in enumerate(extents)])
    extent = (boxes[..., 2:] - boxes[..., :2]).mean(1).prod(-1)
    frames = [frame.copy() for frame in clip_THWC]
    for k in np.argsort(-extent):
        for t in range(T):
            if visible[k, t]:
                x1, y1, x2, y2 = boxes[k, t]
                alpha = alphas[k][t][..., None]
                under = frames[t][y1:y2, x1:x2]
                frames[t][y1:y2, x1:x2] = (1 - alpha) * under + alpha * patches[k][t]
    return np.stack(frames)


def published_mask(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Mask of one patch."""
    dx = np.abs(np.arange(width) - (width - 1) // 2)[None] / width
    dy = np.abs(np.arange(height) - (height - 1) // 2)[:, None] / height
    shape = int(rng.choice(3, p=[0.5, 0.35, 0.15]))
    distance = (np.maximum(dx, dy), np.sqrt(dx**2 + dy**2), dx + dy)[shape]
    mask = np.ones_like(distance) if shape == 0 else (distance < 0.5).astype(float)
    if rng.random() < 0.5:
        mask *= np.clip((0.5 - distance) / (0.5 - rng.uniform(0.3, 0.45)), 0, 1)
    return mask
