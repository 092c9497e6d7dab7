"""A picture with four plain rectangles, and a video of it."""

from __future__ import annotations

import numpy as np
import pytest

RECTANGLES = ((10, 8, 40, 34), (70, 12, 110, 40), (15, 60, 60, 84), (90, 55, 118, 88))


@pytest.fixture(scope="session")
def rectangles() -> tuple[tuple[int, int, int, int], ...]:
    return RECTANGLES


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.full((96, 128, 3), 60.0)
    colours = ((220, 40, 40), (40, 200, 60), (60, 80, 230), (230, 210, 50))
    for (x1, y1, x2, y2), colour in zip(RECTANGLES, colours, strict=True):
        image[y1:y2, x1:x2] = colour
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def video(picture: np.ndarray) -> np.ndarray:
    return np.stack([np.roll(picture, 2 * t, axis=1) for t in range(10)])
