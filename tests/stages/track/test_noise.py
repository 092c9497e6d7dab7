from __future__ import annotations

import numpy as np
import pytest

from stages.track.noise import noise_level, smooth


def noisy(sigma: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(60, 180, 120)[None, None]
    images = ramp + rng.normal(0, sigma, (12, 90, 120))
    return np.asarray(images.round().clip(0, 255), np.uint8)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.5])
def test_the_noise_of_a_still_picture_is_found(sigma: float) -> None:
    assert noise_level(noisy(sigma)) == pytest.approx(sigma, rel=0.15)


def test_something_that_moves_is_no_noise() -> None:
    images = noisy(1.0)
    for t in range(12):
        images[t, 20:70, 4 * t : 4 * t + 50] = 250 if t % 2 else 0
    assert noise_level(images) == pytest.approx(1.0, rel=0.25)


def test_a_texture_that_moves_is_no_noise() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (90, 160), np.uint8)
    assert noise_level(np.stack([texture[:, t : t + 120] for t in range(12)])) == 0
    assert noise_level(texture[None]) == 0


def test_noise_is_smoothed_to_a_level_and_quiet_frames_stay_as_they_are() -> None:
    images = noisy(3.5)
    assert noise_level(smooth(images, 3.5, left=0.8)) < 1.0
    assert smooth(images, 0.5, left=0.8) is images
