"""Geometry of views: the square in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.learning.views import CropAndFlip


def centred(clip_THWC: Any, size: int) -> Any:
    _, height, width, _ = clip_THWC.shape
    return CropAndFlip.centred(height=height, width=width, size=size).apply(clip_THWC)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64), (33, 47), (64, 64), (16, 200)])
def test_the_crop_is_the_middle(height: int, width: int) -> None:
    ramp_x = np.broadcast_to(np.linspace(0, 255, width)[None, :], (height, width))
    ramp_y = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    clip = np.stack([ramp_x, ramp_y, ramp_x], axis=-1)[None].round().astype(np.uint8)
    cropped = centred(clip, 32)
    assert cropped.shape == (1, 32, 32, 3)
    share = min(height, width) / np.array([width, height])
    for axis in (0, 1):  # symmetric about grey 127.5, and as wide as the crop's share
        values = cropped[0, ..., axis].astype(float)
        assert abs(values.mean() - 127.5) < 4
        assert abs(np.ptp(values) / 255 - share[axis]) < 0.08


def test_frames_of_the_right_size_are_untouched() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), dtype=np.uint8)
    assert (centred(clip, 32) == clip[:, :, 8:40]).all()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64), (33, 47)])
def test_the_box_is_what_was_cut(height: int, width: int) -> None:
    """In pixels of the stored frame: only what lies in it changes the view."""
    for crop in CropAndFlip.along((40, 60), size=40, count=3):
        x1, y1, x2, y2 = np.round(crop.box(height, width)).astype(int)
        clip = np.zeros((1, height, width, 3), np.uint8)
        clip[:, y1:y2, x1:x2] = 200
        assert (crop.apply(clip)[:, 2:-2, 2:-2] == 200).all()
        assert (crop.apply(200 - clip)[:, 2:-2, 2:-2] == 0).all()
        np.testing.assert_allclose((x2 - x1) / width * 60, 40, atol=2)
        np.testing.assert_allclose((y2 - y1) / height * 40, 40, atol=2)
