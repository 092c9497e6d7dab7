"""Colour changes against OpenCV and by invariance."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from stages.learning.photometric import ctp_colour, hue_saturation, smooth_curve


def noise(*shape: int) -> torch.Tensor:
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return torch.from_numpy(values)


def test_no_change_is_the_identity() -> None:
    clip = noise(2, 3, 8, 8, 3).float()
    same = hue_saturation(clip, torch.zeros(2), torch.ones(2))
    difference = (same - clip).abs()
    # Hues beyond 179 of 180 are clamped, as the reference does: a rare red pixel moves.
    assert (difference > 1e-3).float().mean() < 0.01
    assert difference.max() < 5


def test_shift_agrees_with_opencv() -> None:
    clip = noise(1, 1, 32, 32, 3)
    hsv = cv2.cvtColor(clip[0, 0].numpy(), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = np.clip(hsv[..., 0] + 10, 0, 179)
    hsv[..., 1] = np.clip(hsv[..., 1] * 0.9, 0, 255)
    expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    ours = hue_saturation(clip.float(), torch.tensor([10.0]), torch.tensor([0.9]))[0, 0].numpy()
    assert np.abs(ours - expected).mean() < 2.5  # OpenCV rounds hue to 2 degrees


def test_smooth_curve_stays_in_its_bounds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        curve = smooth_curve(rng, num_frames=16, bound=30)
        assert curve.shape == (16,)
        assert np.abs(curve).max() <= 30


def test_grey_stays_grey_and_the_generator_decides() -> None:
    grey = torch.full((4, 8, 6, 6, 3), 120, dtype=torch.uint8)
    out = ctp_colour(grey, np.random.default_rng(3))
    torch.testing.assert_close(out[..., 0], out[..., 1])
    torch.testing.assert_close(out, ctp_colour(grey, np.random.default_rng(3)), rtol=0, atol=0)
    assert not torch.equal(out, ctp_colour(grey, np.random.default_rng(4)))
    # One value per clip and frame: no pixel differs from its neighbours.
    assert (out.amax((2, 3)) - out.amin((2, 3))).max() == 0
