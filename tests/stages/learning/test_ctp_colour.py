"""CtP's colour changes of fine-tuning: how often, how much, constant over time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.learning.ctp_colour import ctp_recognition_colour


def test_each_change_hits_a_fifth_of_the_clips() -> None:
    clips = torch.full((4000, 1, 1, 1, 3), 128, dtype=torch.uint8)  # grey: hue does nothing
    out = ctp_recognition_colour(clips, np.random.default_rng(0))
    changed = (out[:, 0, 0, 0, 0] - 128).abs() > 1e-3
    assert changed.float().mean().item() == pytest.approx(1 - 0.8**2, abs=0.02)
    assert out.min() >= (128 - 32) * np.exp(-0.2) - 1e-3
    assert out.max() <= (128 + 32) * np.exp(0.2) + 1e-3
    green = torch.tensor([40, 200, 40], dtype=torch.uint8).expand(4000, 1, 1, 1, 3)
    pixels = ctp_recognition_colour(green, np.random.default_rng(0))[:, 0, 0, 0]
    turned = (pixels[:, 0] - pixels[:, 2]).abs() > 1e-3
    assert turned.float().mean().item() == pytest.approx(0.2, abs=0.03)


def test_frames_of_a_clip_change_alike_and_draws_repeat() -> None:
    clips = torch.randint(0, 256, (8, 1, 4, 4, 3), dtype=torch.uint8).expand(8, 5, 4, 4, 3)
    one = ctp_recognition_colour(clips, np.random.default_rng(3))
    assert (one == one[:, :1]).all()
    assert torch.equal(one, ctp_recognition_colour(clips, np.random.default_rng(3)))
    assert (one >= 0).all()
    assert (one <= 255).all()
