"""A textured disc over a textured background, with exact masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pytest


def texture(rng: np.random.Generator, height: int, width: int, contrast: float) -> np.ndarray:
    """Noise of three grain sizes, (height, width, 3) float32."""
    out = np.zeros((height, width, 3), np.float32)
    for grain in (2, 6, 16):
        noise = rng.normal(size=(height // grain + 2, width // grain + 2, 3)).astype(np.float32)
        out += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return out / out.std() * contrast + 120


def render(
    *,
    seed: int = 0,
    num_frames: int = 16,
    size: tuple[int, int] = (120, 160),
    radius: int = 18,
    velocity: tuple[float, float] = (2.5, 0.8),
    pan: tuple[float, float] = (0, 0),
    zoom: float = 0,
    rest: Sequence[int] = (),
    noise: float = 2,
    plain: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 and masks (T, H, W) bool; speeds in pixels a frame.

    ``rest`` are frames in which the disc stands still, ``plain`` gives a background
    without texture.
    """
    rng = np.random.default_rng(seed)
    (height, width), margin = size, 80
    ground = texture(rng, height + 2 * margin, width + 2 * margin, 0 if plain else 30)
    disc = texture(rng, 2 * radius + 1, 2 * radius + 1, 35)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    at = np.array([width / 2, height / 2]) - np.array(velocity) * num_frames / 2
    frames, masks = [], []
    for t in range(num_frames):
        scale = 1 + zoom * t
        left = (x - width / 2) / scale + width / 2 + margin + pan[0] * t
        top = (y - height / 2) / scale + height / 2 + margin + pan[1] * t
        frame = cv2.remap(ground, np.float32(left), np.float32(top), cv2.INTER_LINEAR)
        dx, dy = np.float32(x - at[0]), np.float32(y - at[1])
        mask = (dx / radius) ** 2 + (dy / (0.8 * radius)) ** 2 < 1
        surface = cv2.remap(disc, dx + radius, dy + radius, cv2.INTER_LINEAR)
        frame[mask] = surface[mask]
        frames.append(np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255))
        masks.append(mask)
        if t not in rest:
            at = at + velocity
    return np.stack(frames).astype(np.uint8), np.stack(masks)


@pytest.fixture(scope="session")
def scene() -> Callable[..., Any]:
    return render
